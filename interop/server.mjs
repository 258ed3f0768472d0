// A server on npm `mppx`, to be paid by the client of this library, on three frameworks: plain node, hono, express.
//
//   node server.mjs node|hono|express <stripe url> <stripe key> <stripe profile> [<rpc url> <chain id> <recipient> [<token>]]
//
// It prints `listening on <url>` and ends with its stdin. Cards: /card (1.50 usd), /cards (1.00 or 2.00 usd, two offers in one
// header line), POST /order (1.50 usd, answers the body). With a chain: /charge, /zero, /push, /pull, /split, /sponsored, /both. With
// a token as well the chain is a plain EVM one: /authorization.
import { createServer } from 'node:http'
import Stripe from 'stripe'
import { Mppx, Request as Adapter, Store, evm, stripe, tempo } from 'mppx/server'

const [framework, stripeUrl, stripeKey, profile, rpc, chainId, recipient, token] = process.argv.slice(2)
const { hostname, port } = new URL(stripeUrl)
const client = new Stripe(stripeKey, {
  host: hostname, port: Number(port), protocol: 'http', maxNetworkRetries: 0, telemetry: false,
})
const methods = [stripe.charge({ client, networkId: profile, paymentMethodTypes: ['card'], currency: 'usd', decimals: 2 })]
if (rpc) methods.push(token ? await evmMethod() : await tempoMethod())
const mppx = Mppx.create({ methods, secretKey: 'a secret of 32 bytes or more, for tests' })

async function evmMethod() {
  const { createPublicClient, createWalletClient, http, parseAbi, parseSignature } = await import('viem')
  const { mnemonicToAccount } = await import('viem/accounts')
  const { foundry } = await import('viem/chains')
  const mnemonic = 'test test test test test test test test test test test junk' // anvil's dev accounts
  const account = mnemonicToAccount(mnemonic, { addressIndex: 2 })
  const chain = { chain: foundry, transport: http(rpc) }
  const [sender, reader] = [createWalletClient({ ...chain, account }), createPublicClient({ ...chain, pollingInterval: 50 })]
  const abi = parseAbi([
    'function transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)',
  ])
  const settle = async ({ payload }) => {
    const { r, s, v, yParity } = parseSignature(payload.signature)
    const { from, to, value, validAfter, validBefore, nonce } = payload
    const args = [from, to, value, validAfter, validBefore].map((it, place) => (place < 2 ? it : BigInt(it)))
    const hash = await sender.writeContract({
      address: token, abi, functionName: 'transferWithAuthorization',
      args: [...args, nonce, Number(v ?? BigInt(yParity) + 27n), r, s],
    })
    const { status } = await reader.waitForTransactionReceipt({ hash })
    if (status !== 'success') throw new Error('the settlement was reverted')
    return { reference: hash }
  }
  const authorization = { name: 'USDC', version: '2' }
  return evm.charge({ chainId: Number(chainId), currency: token, decimals: 6, recipient, authorization, settle })
}

async function tempoMethod() {
  const { createClient, defineChain, http, publicActions, walletActions } = await import('viem')
  const { mnemonicToAccount } = await import('viem/accounts')
  const { tempoLocalnet } = await import('viem/tempo/chains')
  const mnemonic = 'test test test test test test test test test test test junk' // anvil's dev accounts
  const sponsor = mnemonicToAccount(mnemonic, { addressIndex: 5 })
  const chain = defineChain({ ...tempoLocalnet, id: Number(chainId), rpcUrls: { default: { http: [rpc] } } })
  const node = createClient({ account: sponsor, chain, transport: http(rpc), pollingInterval: 50 })
    .extend(publicActions)
    .extend(walletActions)
  const currency = '0x20c0000000000000000000000000000000000000' // pathUSD
  return tempo.charge({ currency, recipient, feePayer: sponsor, store: Store.memory(), getClient: () => node })
}

const sold = (handler, body) => async (request) => {
  const text = typeof body === 'string' ? body : await request.clone().text()
  const result = await handler(request)
  return result.status === 402 ? result.challenge : result.withReceipt(new Response(text))
}
const card = (amount) => mppx.stripe.charge({ amount })
const routes = {
  'GET /card': sold(card('1.50'), 'by card'),
  'GET /cards': sold(mppx.compose(['stripe/charge', { amount: '2.00' }], ['stripe/charge', { amount: '1.00' }]), 'by card'),
  'POST /order': sold(card('1.50')),
}
if (token) routes['GET /authorization'] = sold(mppx.evm.charge({ amount: '0.25' }), 'authorized')
if (rpc && !token) {
  const own = { feePayer: false }
  const part = '0x00000000000000000000000000000000000051de'
  Object.assign(routes, {
    'GET /charge': sold(mppx.tempo.charge({ amount: '0.01', ...own }), 'charged'),
    'GET /zero': sold(mppx.tempo.charge({ amount: '0', ...own }), 'proved'),
    'GET /push': sold(mppx.tempo.charge({ amount: '0.01', ...own, supportedModes: ['push'] }), 'pushed'),
    'GET /pull': sold(mppx.tempo.charge({ amount: '0.01', ...own, supportedModes: ['pull'] }), 'pulled'),
    'GET /split': sold(mppx.tempo.charge({ amount: '0.05', ...own, splits: [{ amount: '0.01', recipient: part }] }), 'split'),
    'GET /sponsored': sold(mppx.tempo.charge({ amount: '0.02' }), 'sponsored'),
    'GET /both': sold(mppx.compose(['tempo/charge', { amount: '1', ...own }], ['stripe/charge', { amount: '1.00' }]), 'either'),
  })
}
const answer = async (request) => {
  const handler = routes[`${request.method} ${new URL(request.url).pathname}`]
  return handler ? handler(request) : new Response('nothing here', { status: 404 })
}

async function listener() {
  switch (framework) {
    case 'hono': {
      const { Hono } = await import('hono')
      const { getRequestListener } = await import('@hono/node-server')
      const app = new Hono()
      app.all('*', (context) => answer(context.req.raw))
      return getRequestListener(app.fetch)
    }
    case 'express': {
      const { default: express } = await import('express')
      const { payment } = await import('mppx/express')
      const app = express()
      // What express has of its own; everything else goes the way of plain node.
      app.get('/card', payment(mppx.stripe.charge, { amount: '1.50' }), (_, response) => response.json('by card'))
      app.use(Adapter.toNodeListener(answer))
      return app
    }
    default:
      return Adapter.toNodeListener(answer)
  }
}

const server = createServer(await listener())
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
process.stdin.resume().on('end', () => process.exit(0))
