// Prints the golden vectors of the evm method, computed by viem and by hand; nothing of this project's own code is used. The
// result is committed as mpp/tests/fixtures/evm-vectors.json, and a test runs this script again.
//
//   node evm-vectors.mjs > ../mpp/tests/fixtures/evm-vectors.json
import {
  concat, encodeAbiParameters, encodeFunctionData, hashDomain, hashTypedData, keccak256, pad, parseAbi, stringToHex,
  toBytes,
} from 'viem'
import { privateKeyToAccount, sign, serializeSignature } from 'viem/accounts'

const key = `0x${'01'.repeat(32)}`
const payer = privateKeyToAccount(key)
const spender = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const recipient = '0x742d35Cc6634C0532925a3b844Bc454e4438f44e'
const token = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
const permit2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3'
const chainId = 8453
const id = 'Uhc6WSMBbKqNSUJETnxTmSTzEqvM8S1eKaBB9UT4Mn8'
const realm = 'api.example.com'
const expires = '2026-11-21T12:05:00Z'
const until = BigInt(Date.parse(expires) / 1000)
const amount = 50000n
const nonce = 2n ** 200n + 7n

const challengeHash = (id, realm) => keccak256(toBytes(id + realm))
const signed = async (hash) => serializeSignature(await sign({ hash, privateKey: key }))

const fields = (text) =>
  text.split(',').map((field) => {
    const [type, name] = field.split(' ')
    return { type, name }
  })
const domainTypes = {
  withVersion: 'string name,string version,uint256 chainId,address verifyingContract',
  plain: 'string name,uint256 chainId,address verifyingContract',
}

// EIP-3009
const tokenDomain = { name: 'USD Coin', version: '2', chainId, verifyingContract: token }
const authorization = { from: payer.address, to: recipient, value: amount, validAfter: 0n, validBefore: until, nonce: challengeHash(id, realm) }
const authorizationDigest = hashTypedData({
  domain: tokenDomain,
  types: { TransferWithAuthorization: fields('address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce') },
  primaryType: 'TransferWithAuthorization',
  message: authorization,
})

// Permit2, as EIP-712 encoders write the witness type, and step by step, as the draft prints it
const permit2Domain = { name: 'Permit2', chainId, verifyingContract: permit2 }
const permits = []
for (const externalId of ['', 'order-7']) {
  const witness = { challengeHash: challengeHash(id, realm), externalId }
  const canonical = hashTypedData({
    domain: permit2Domain,
    types: {
      PermitWitnessTransferFrom: fields('TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,PaymentWitness witness'),
      TokenPermissions: fields('address token,uint256 amount'),
      PaymentWitness: fields('bytes32 challengeHash,string externalId'),
    },
    primaryType: 'PermitWitnessTransferFrom',
    message: { permitted: { token, amount }, spender, nonce, deadline: until, witness },
  })
  const byHand = (space) => {
    const words = (types, values) => keccak256(encodeAbiParameters(types.map((type) => ({ type })), values))
    const hashed = (text) => keccak256(stringToHex(text))
    const witnessType = `PaymentWitness(bytes32 challengeHash,${space}string externalId)`
    const permissions = 'TokenPermissions(address token,uint256 amount)'
    const type = `PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,PaymentWitness witness)${witnessType}${permissions}`
    const witnessHash = words(['bytes32', 'bytes32', 'bytes32'], [hashed(witnessType), witness.challengeHash, hashed(externalId)])
    const permitted = words(['bytes32', 'address', 'uint256'], [hashed(permissions), token, amount])
    const struct = words(
      ['bytes32', 'bytes32', 'address', 'uint256', 'uint256', 'bytes32'],
      [hashed(type), permitted, spender, nonce, until, witnessHash],
    )
    const separator = hashDomain({ domain: permit2Domain, types: { EIP712Domain: fields(domainTypes.plain) } })
    return { witnessHash, digest: keccak256(concat(['0x1901', separator, struct])) }
  }
  if (byHand('').digest !== canonical) throw new Error('viem and the arithmetic disagree')
  for (const [kind, space] of [['literal', ' '], ['canonical', '']]) {
    const { witnessHash, digest } = byHand(space)
    permits.push({ kind, externalId, witnessHash, digest, signature: await signed(digest) })
  }
}

// A transfer that names its challenge
const transfer = encodeFunctionData({ abi: parseAbi(['function transfer(address to, uint256 value)']), args: [recipient, amount] })
const bound = async (extra) => {
  const raw = await payer.signTransaction({
    type: 'eip1559', chainId, nonce: 7, gas: 90000n, maxFeePerGas: 2000000000n, maxPriorityFeePerGas: 1000000000n, ...extra,
  })
  return { raw, hash: keccak256(raw) }
}
const transactions = {
  token: await bound({ to: token, data: concat([transfer, challengeHash(id, realm)]) }),
  plain: await bound({ to: token, data: transfer }),
  coin: await bound({ to: recipient, value: amount, data: challengeHash(id, realm) }),
}

// Requests: canonical JSON (RFC 8785) of these members, which are all strings, small integers and lists of strings
const canonicalJson = (value) => {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object') return JSON.stringify(value)
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name])}`).join(',')}}`
}
const request = (currency, decimals, credentialTypes, more = {}) =>
  Buffer.from(canonicalJson({
    amount: String(amount), currency, recipient, methodDetails: { chainId, credentialTypes, decimals, ...more },
  })).toString('base64url')
const requests = {
  default: request(token, 6, ['authorization', 'transaction']),
  everything: request(token, 6, ['permit2', 'authorization', 'transaction', 'hash'], { permit2Address: permit2, spender }),
  coin: request(pad('0x0', { size: 20 }), 18, ['transaction']),
}

const vectors = {
  chainId, key, payer: payer.address, spender, recipient, token, id, realm, expires,
  amount: String(amount), nonce: String(nonce),
  challengeHashes: [[id, realm], ['aB3cDeF4gHiJkLmN', 'api.example.com'], ['sP1itBatchEx4mple', 'marketplace.example.com']]
    .map(([id, realm]) => ({ id, realm, hash: challengeHash(id, realm) })),
  domains: {
    token: hashDomain({ domain: tokenDomain, types: { EIP712Domain: fields(domainTypes.withVersion) } }),
    permit2: hashDomain({ domain: permit2Domain, types: { EIP712Domain: fields(domainTypes.plain) } }),
  },
  authorization: { digest: authorizationDigest, signature: await signed(authorizationDigest) },
  permits,
  transactions,
  requests,
}
console.log(JSON.stringify(vectors, null, 2))
