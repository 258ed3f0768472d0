// A payer on npm `mppx`, driven by one JSON object a line on stdin and answering each with one on stdout. It ends with its
// stdin.
//
//   node wallet.mjs <rpc url> <chain id> [<stripe url> <stripe key>]
//   {"op": "credential", "challenge": "Payment …", "account": 0, "mode": "pull"}  -> {"authorization": "Payment …"}
//   {"op": "fetch", "url": …, "method": "GET", "body": null, "account": 0, "mode": "pull"}
//        -> {"status": 200, "headers": {…}, "body": "…", "statuses": [402, 200]}
//   {"op": "advance", "seconds": 90}  -> {}   the payer's clock goes ahead, as the chain's does
import { createInterface } from 'node:readline'
import { keccak256, toBytes } from 'viem'
import { Mppx, evm, stripe, tempo } from 'mppx/client'
import { account as dev, client as clientOf, tokens } from './payer.mjs'

const [rpc, chainId, stripeUrl, stripeKey] = process.argv.slice(2)
const createToken = tokens(stripeUrl, stripeKey)

function methods(account, mode, client) {
  // The token of `contracts/Token.sol`: mppx does not read a token's EIP-712 domain.
  if (mode === 'evm') return [evm.charge({ account, authorization: { name: 'USDC', version: '2' } })]
  if (mode.startsWith('pm_')) return [stripe.charge({ paymentMethod: mode, createToken })]
  return [tempo.charge({ account, mode, getClient: () => client })]
}

const wallets = new Map()
function wallet(index, mode) {
  const key = `${index}/${mode}`
  if (!wallets.has(key)) {
    const account = dev(index)
    const client = clientOf(rpc, chainId, account)
    const statuses = []
    const counted = async (input, init) => {
      const response = await fetch(input, init)
      statuses.push(response.status)
      return response
    }
    const mppx = Mppx.create({ methods: methods(account, mode, client), polyfill: false, fetch: counted })
    wallets.set(key, { statuses, mppx })
  }
  return wallets.get(key)
}

// No other SDK pays by permit2: this is what a wallet that knows nothing of it but EIP-712 signs.
async function permit2({ challenge, request, account = 0 }) {
  const { amount, currency, recipient, methodDetails } = request
  const signer = dev(account)
  const challengeHash = keccak256(toBytes(challenge.id + challenge.realm))
  const nonce = BigInt(keccak256(toBytes(`nonce of ${challenge.id}`)))
  const deadline = BigInt(Math.floor(Date.parse(challenge.expires) / 1000))
  const signature = await signer.signTypedData({
    domain: { name: 'Permit2', chainId: methodDetails.chainId, verifyingContract: methodDetails.permit2Address },
    types: {
      PermitWitnessTransferFrom: [
        { name: 'permitted', type: 'TokenPermissions' },
        { name: 'spender', type: 'address' },
        { name: 'nonce', type: 'uint256' },
        { name: 'deadline', type: 'uint256' },
        { name: 'witness', type: 'PaymentWitness' },
      ],
      TokenPermissions: [
        { name: 'token', type: 'address' },
        { name: 'amount', type: 'uint256' },
      ],
      PaymentWitness: [
        { name: 'challengeHash', type: 'bytes32' },
        { name: 'externalId', type: 'string' },
      ],
    },
    primaryType: 'PermitWitnessTransferFrom',
    message: {
      permitted: { token: currency, amount: BigInt(amount) },
      spender: methodDetails.spender,
      nonce,
      deadline,
      witness: { challengeHash, externalId: request.externalId ?? '' },
    },
  })
  const payload = {
    type: 'permit2',
    permit: { permitted: [{ token: currency, amount }], nonce: String(nonce), deadline: String(deadline) },
    transferDetails: [{ to: recipient, requestedAmount: amount }],
    witness: { challengeHash },
    signature,
  }
  return { payload }
}

let ahead = 0
const clock = Date.now
Date.now = () => clock() + ahead

const operations = {
  permit2,
  async advance({ seconds }) {
    ahead += seconds * 1000
    return {}
  },
  async credential({ challenge, account = 0, mode = 'pull' }) {
    const response = new Response(null, { status: 402, headers: { 'www-authenticate': challenge } })
    return { authorization: await wallet(account, mode).mppx.createCredential(response) }
  },
  async fetch({ url, method = 'GET', body = null, account = 0, mode = 'pull' }) {
    const { mppx, statuses } = wallet(account, mode)
    statuses.length = 0
    const headers = body === null ? {} : { 'content-type': 'application/json' }
    const response = await mppx.fetch(url, { method, headers, ...(body === null ? {} : { body }) })
    const text = await response.text()
    return { status: response.status, headers: Object.fromEntries(response.headers), body: text, statuses: [...statuses] }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const { op, ...rest } = JSON.parse(line)
    answer = await operations[op](rest)
  } catch (error) {
    answer = { error: String(error?.message ?? error) }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
