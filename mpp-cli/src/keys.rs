//! Keys on disk: encrypted with a password, readable by their owner alone.
//!
//! A key file is JSON: what kind of key it is, its address, and the key sealed with ChaCha20-Poly1305 under Argon2id of the
//! password. The address is authenticated with it, so that a file that says another address does not open.

use std::io::IsTerminal as _;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use mpp::method::sandbox::Wallet;
use mpp::protocol::b64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::home::{self, Home};

/// What Argon2id is asked to spend: 64 MiB, three passes.
const MEMORY: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// The most that a file may ask for: somebody else's file shall not stop this machine.
const MOST_MEMORY: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 64;
/// The largest file that is read.
const MOST_BYTES: u64 = 16 * 1024;

/// A key: 32 bytes, wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// A key file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KeyFile {
    version: u32,
    pub(crate) kind: Kind,
    pub(crate) address: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// What a key signs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Play money (ed25519)
    Sandbox,
    /// An account on Tempo or another EVM chain (secp256k1)
    #[cfg(feature = "chains")]
    Evm,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Sandbox => "sandbox",
            #[cfg(feature = "chains")]
            Kind::Evm => "evm",
        }
    }

    /// The account of a key.
    fn address(self, key: &Key) -> Result<String, Failure> {
        Ok(match self {
            Kind::Sandbox => Wallet::from_seed(**key).did(),
            #[cfg(feature = "chains")]
            Kind::Evm => signer(key)?.address().to_string(),
        })
    }
}

impl KeyFile {
    /// A new key, sealed with this password.
    pub(crate) fn create(kind: Kind, password: &str) -> Result<KeyFile, Failure> {
        let key: Key = Zeroizing::new(rand::random());
        KeyFile::seal(kind, &key, password, MEMORY, PASSES)
    }

    fn seal(kind: Kind, key: &Key, password: &str, memory: u32, passes: u32) -> Result<KeyFile, Failure> {
        let (salt, nonce): ([u8; 16], [u8; 12]) = (rand::random(), rand::random());
        let address = kind.address(key)?;
        let cipher = cipher(password, &salt, memory, passes)?;
        let bound = aad(kind, &address);
        let payload = Payload { msg: &**key, aad: bound.as_bytes() };
        let sealed = cipher
            .encrypt(Nonce::from_slice(&nonce), payload)
            .map_err(|_| Failure::failed("the key cannot be encrypted"))?;
        Ok(KeyFile {
            version: 1,
            kind,
            address,
            memory_kib: memory,
            passes,
            salt: b64::encode(salt),
            nonce: b64::encode(nonce),
            sealed: b64::encode(sealed),
        })
    }

    pub(crate) fn read(path: &Path) -> Result<KeyFile, Failure> {
        let wrong =
            |why: &dyn std::fmt::Display| Failure::failed(format!("the key file {}: {why}", path.display()));
        let missing = |error| wrong(&format!("{error}; `mpp wallet list` has the names of yours"));
        let size = std::fs::metadata(path).map_err(missing)?.len();
        if size > MOST_BYTES {
            return Err(wrong(&"it is too large to be one"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        // Never with the parser's own message, which may quote what it read.
        let file: KeyFile =
            serde_json::from_str(&text).map_err(|_| wrong(&"it is none (`mpp wallet new` makes one)"))?;
        if file.version != 1 || file.memory_kib > MOST_MEMORY || file.passes > MOST_PASSES {
            return Err(wrong(&"it is of another version of this program"));
        }
        Ok(file)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(Failure::failed)? + "\n";
        home::write_new(path, text.as_bytes())
    }

    /// The key, if this is its password.
    pub(crate) fn open(&self, password: &str) -> Result<Key, Failure> {
        let refused = || Failure::failed("the password is wrong, or the key file was changed");
        let bytes = |text: &str| b64::decode(text).map_err(|_| refused());
        let (salt, nonce, sealed) = (bytes(&self.salt)?, bytes(&self.nonce)?, bytes(&self.sealed)?);
        let nonce: [u8; 12] = nonce.try_into().map_err(|_| refused())?;
        let cipher = cipher(password, &salt, self.memory_kib, self.passes)?;
        let bound = aad(self.kind, &self.address);
        let payload = Payload { msg: &sealed, aad: bound.as_bytes() };
        let opened = cipher.decrypt(Nonce::from_slice(&nonce), payload).map_err(|_| refused())?;
        let opened = Zeroizing::new(opened);
        let mut key = Key::default();
        if opened.len() != key.len() {
            return Err(refused());
        }
        key.copy_from_slice(&opened);
        Ok(key)
    }
}

fn aad(kind: Kind, address: &str) -> String {
    format!("mpp key v1 {} {address}", kind.name())
}

fn cipher(password: &str, salt: &[u8], memory: u32, passes: u32) -> Result<ChaCha20Poly1305, Failure> {
    let params = Params::new(memory, passes, 1, Some(32))
        .map_err(|_| Failure::failed("the key file's parameters are out of range"))?;
    let mut derived = Key::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut *derived)
        .map_err(|_| Failure::failed("the key file's parameters are out of range"))?;
    Ok(ChaCha20Poly1305::new((&*derived).into()))
}

/// What signs with a key of an EVM chain. Nearly every 32 bytes are one.
#[cfg(feature = "chains")]
pub(crate) fn signer(key: &Key) -> Result<alloy::signers::local::PrivateKeySigner, Failure> {
    alloy::signers::local::PrivateKeySigner::from_slice(&**key)
        .map_err(|_| Failure::failed("the key is none of an EVM chain; make another"))
}

/// The password: of the file's first line, or asked for at the terminal.
pub(crate) fn password(file: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::failed(format!(
                "the password file {}: {error}; its first line is the password",
                path.display()
            ))
        })?;
        let text = Zeroizing::new(text);
        return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
    }
    if !std::io::stderr().is_terminal() {
        return Err(Failure::failed("a password is needed and this is no terminal; use --password-file"));
    }
    let typed = rpassword::prompt_password(prompt)
        .map_err(|error| Failure::failed(format!("no password: {error}")))?;
    Ok(Zeroizing::new(typed))
}

/// The wallet of play money: a key of no worth, made when it is first needed.
pub(crate) fn play_money(home: &Home) -> Result<Wallet, Failure> {
    let path = home.file("sandbox.key")?;
    if !path.exists() {
        let seed: Key = Zeroizing::new(rand::random());
        let made = home::write_new(&path, format!("{}\n", b64::encode(*seed)).as_bytes());
        // Another process may have been first: then its key is ours too.
        made.or_else(|failure| if path.exists() { Ok(()) } else { Err(failure) })?;
    }
    let wrong = || Failure::failed(format!("{} is not a key of play money; remove it", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|_| wrong())?;
    let seed: [u8; 32] =
        b64::decode(text.trim()).ok().and_then(|seed| seed.try_into().ok()).ok_or_else(wrong)?;
    Ok(Wallet::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (Key, KeyFile) {
        let key: Key = Zeroizing::new([7; 32]);
        // Cheap parameters: the test is of the format.
        let file = KeyFile::seal(Kind::Sandbox, &key, "correct horse", 8, 1).unwrap();
        (key, file)
    }

    #[test]
    fn a_key_opens_with_its_password_and_no_other() {
        let (key, file) = file();
        assert_eq!(*file.open("correct horse").unwrap(), *key);
        assert!(file.open("correct horsf").is_err());
        assert!(file.open("").is_err());
    }

    #[test]
    fn a_file_whose_address_was_changed_does_not_open() {
        let (_, mut file) = file();
        file.address = Wallet::from_seed([8; 32]).did();
        assert!(file.open("correct horse").is_err());
    }

    #[test]
    fn a_key_file_holds_no_key_in_the_clear() {
        let (key, file) = file();
        let text = serde_json::to_string(&file).unwrap();
        assert!(!text.contains(&b64::encode(*key)[..20]), "{text}");
        assert_eq!(file.address, Wallet::from_seed(*key).did());
    }

    #[cfg(feature = "chains")]
    #[test]
    fn the_address_of_a_key_is_the_one_everybody_computes() {
        // Anvil's first account.
        let digits = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let mut key = Key::default();
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        let file = KeyFile::seal(Kind::Evm, &key, "correct horse", 8, 1).unwrap();
        assert_eq!(file.address, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(*file.open("correct horse").unwrap(), *key);
    }
}
