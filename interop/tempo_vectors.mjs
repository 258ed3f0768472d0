// Golden vectors of the Tempo method, computed by viem and ox alone: node tempo_vectors.mjs > ../mpp/tests/fixtures/tempo-vectors.json
//
// Every input is in the output too, so that whoever checks it needs nothing else.
import { Secp256k1 } from 'ox'
import { TxEnvelopeTempo } from 'ox/tempo'
import { concatHex, encodeFunctionData, hashTypedData, keccak256, maxUint256, sliceHex, stringToHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { Abis } from 'viem/tempo'

const chainId = 31337
const realm = 'api.example.com'
const challengeId = 'kM9xPqWvT2nJrHsY4aDfEb'
const token = '0x20c0000000000000000000000000000000000000'
const shop = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const platform = '0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC'
const payer = privateKeyToAccount(`0x${'01'.repeat(32)}`)
const sponsor = privateKeyToAccount(`0x${'09'.repeat(32)}`)

// The attribution memo (spec-a 8.7): keccak("mpp")[..4], 1, keccak(realm)[..10], ten zeros, keccak(id)[..7].
const word = (text, length) => sliceHex(keccak256(stringToHex(text)), 0, length)
const memo = concatHex([word('mpp', 4), '0x01', word(realm, 10), `0x${'00'.repeat(10)}`, word(challengeId, 7)])

// RFC 8785 for objects of strings, integers, booleans and lists of them: members by code unit, no spaces.
const jcs = (value) => {
  if (Array.isArray(value)) return `[${value.map(jcs).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const members = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${jcs(value[name])}`)
  return `{${members.join(',')}}`
}
const request = (amount, details) => {
  const decoded = { amount, currency: token, methodDetails: { chainId, ...details }, recipient: shop }
  return { decoded, encoded: Buffer.from(jcs(decoded)).toString('base64url') }
}
const splits = [{ amount: '10000', recipient: platform }]
const requests = {
  plain: request('50000', {}),
  split: request('50000', { splits }),
  sponsored: request('50000', { feePayer: true, supportedModes: ['pull'] }),
  sponsoredSplit: request('50000', { feePayer: true, splits, supportedModes: ['pull'] }),
  pushOnly: request('50000', { supportedModes: ['push'] }),
  zero: request('0', {}),
}

// EIP-712: domain MPP version 3, without a contract.
const types = {
  Proof: [
    { name: 'account', type: 'address' },
    { name: 'challengeId', type: 'string' },
    { name: 'realm', type: 'string' },
  ],
}
const typed = {
  domain: { name: 'MPP', version: '3', chainId },
  types,
  primaryType: 'Proof',
  message: { account: payer.address, challengeId, realm },
}
const proof = { account: payer.address, digest: hashTypedData(typed), signature: await payer.signTypedData(typed) }

// Transactions.
const transfer = (functionName, ...args) => ({ to: token, data: encodeFunctionData({ abi: Abis.tip20, functionName, args }) })
const fields = {
  chainId,
  maxFeePerGas: 40000000001n,
  maxPriorityFeePerGas: 1n,
  nonce: 0n,
  nonceKey: maxUint256,
  validBefore: 1800000025,
}
const sign = (payload, key) => Secp256k1.sign({ payload, privateKey: key })
const gas = (calls) => 400000n + 300000n * BigInt(calls.length)
const key = (byte) => `0x${byte.repeat(32)}`

function ownFee(calls) {
  const envelope = TxEnvelopeTempo.from({ ...fields, calls, gas: gas(calls), feeToken: token })
  const signingHash = TxEnvelopeTempo.getSignPayload(envelope)
  const raw = TxEnvelopeTempo.serialize(envelope, { signature: { signature: sign(signingHash, key('01')), type: 'secp256k1' } })
  return { signingHash, raw, hash: keccak256(raw) }
}

function sponsored(calls) {
  const unsigned = TxEnvelopeTempo.from({ ...fields, calls, gas: gas(calls), feePayerSignature: null })
  const signingHash = TxEnvelopeTempo.getSignPayload(unsigned)
  const signature = { signature: sign(signingHash, key('01')), type: 'secp256k1' }
  const envelope = TxEnvelopeTempo.serialize(unsigned, { format: 'feePayer', sender: payer.address, signature })
  const paid = TxEnvelopeTempo.from({ ...unsigned, feePayerSignature: undefined, feeToken: token })
  const feePayerHash = TxEnvelopeTempo.getFeePayerSignPayload(paid, { sender: payer.address })
  const raw = TxEnvelopeTempo.serialize(paid, { signature, feePayerSignature: sign(feePayerHash, key('09')) })
  return { signingHash, envelope, feePayerHash, raw, hash: keccak256(raw) }
}

const single = [transfer('transferWithMemo', shop, 50000n, memo)]
const parted = [transfer('transferWithMemo', shop, 40000n, memo), transfer('transfer', platform, 10000n)]

const vectors = {
  inputs: { chainId, realm, challengeId, token, recipient: shop, platform, payerKey: key('01'), sponsorKey: key('09'), payer: payer.address, sponsor: sponsor.address },
  memo,
  requests,
  proof,
  transactions: {
    plain: ownFee(single),
    split: ownFee(parted),
    sponsored: sponsored(single),
    sponsoredSplit: sponsored(parted),
  },
}
console.log(JSON.stringify(vectors, null, 2))
