// Stripe's own SDK (npm `stripe`), driven like wallet.mjs: one JSON object a line on stdin, one answer each on stdout.
//
//   node stripe_outside.mjs <stripe url> <stripe key> <stripe version>
//   {"op": "create", "params": {…}, "key": "idempotency key"}  -> {"object": {…}} or {"error": {"class": …, …}}
//   "refund" with "params" and "key", "refunds" with "params", "refunded" with "id"
//   "retrieve", "capture", "cancel" with "id"; "search" with "query"; "list"; "token" with "params"
//   "retries" (default 0) and "secret" (another secret key) belong to every one
import { createInterface } from 'node:readline'
import Stripe from 'stripe'

const [url, secretKey, apiVersion] = process.argv.slice(2)
const { hostname, port } = new URL(url)

function client({ retries = 0, secret = secretKey }) {
  return new Stripe(secret, {
    apiVersion, host: hostname, port: Number(port), protocol: 'http', maxNetworkRetries: retries, telemetry: false,
  })
}

const operations = {
  create: (stripe, { params }, options) => stripe.paymentIntents.create(params, options),
  retrieve: (stripe, { id }) => stripe.paymentIntents.retrieve(id),
  capture: (stripe, { id }, options) => stripe.paymentIntents.capture(id, {}, options),
  cancel: (stripe, { id }, options) => stripe.paymentIntents.cancel(id, {}, options),
  refund: (stripe, { params }, options) => stripe.refunds.create(params, options),
  refunded: (stripe, { id }) => stripe.refunds.retrieve(id),
  refunds: (stripe, { params }) => stripe.refunds.list(params),
  search: (stripe, { query }) => stripe.paymentIntents.search({ query }),
  list: (stripe) => stripe.paymentIntents.list({ limit: 3 }),
  token: (stripe, { params }) =>
    stripe.rawRequest('POST', '/v1/test_helpers/shared_payment/granted_tokens', params),
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const { op, key, ...rest } = JSON.parse(line)
    const options = key === undefined ? {} : { idempotencyKey: key }
    answer = { object: await operations[op](client(rest), rest, options) }
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeError)) throw error
    const { statusCode, code, decline_code, param } = error
    answer = { error: { class: error.type, status: statusCode, code, decline_code, param } }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
