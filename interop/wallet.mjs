// A payer on npm `mppx`, driven by one JSON object a line on stdin and answering each with one on stdout. It ends with its
// stdin.
//
//   node wallet.mjs <rpc url> <chain id> [<stripe url> <stripe key>]
//   {"op": "credential", "challenge": "Payment …", "account": 0, "mode": "pull"}  -> {"authorization": "Payment …"}
//   {"op": "fetch", "url": …, "method": "GET", "body": null, "account": 0, "mode": "pull"}
//        -> {"status": 200, "headers": {…}, "body": "…", "statuses": [402, 200]}
//   {"op": "advance", "seconds": 90}  -> {}   the payer's clock goes ahead, as the chain's does
import { createInterface } from 'node:readline'
import { Mppx, stripe, tempo } from 'mppx/client'
import { account as dev, client as clientOf, tokens } from './payer.mjs'

const [rpc, chainId, stripeUrl, stripeKey] = process.argv.slice(2)
const createToken = tokens(stripeUrl, stripeKey)

function methods(account, mode, client) {
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

let ahead = 0
const clock = Date.now
Date.now = () => clock() + ahead

const operations = {
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
