// How `mppx validate` pays: MPPX_CONFIG=validate.config.mjs RPC=… CHAIN_ID=… STRIPE_URL=… STRIPE_KEY=…, as far as there are any.
import { stripe, tempo } from 'mppx/client'
import { account, client, tokens } from './payer.mjs'

const { RPC, CHAIN_ID, STRIPE_URL, STRIPE_KEY } = process.env
const payer = account(0)
const methods = []
if (RPC) methods.push(tempo.charge({ account: payer, getClient: () => client(RPC, CHAIN_ID, payer) }))
if (STRIPE_URL) {
  methods.push(stripe.charge({ paymentMethod: 'pm_card_visa', createToken: tokens(STRIPE_URL, STRIPE_KEY) }))
}
export default { methods }
