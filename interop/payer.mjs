// What every payer of the tests is made of: anvil's dev accounts on a local Tempo chain, and test cards at the stand-in.
import { createClient, defineChain, http, publicActions, walletActions } from 'viem'
import { mnemonicToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/tempo/chains'

const mnemonic = 'test test test test test test test test test test test junk' // anvil's dev accounts

export const account = (index) => mnemonicToAccount(mnemonic, { addressIndex: index })

export function client(rpc, chainId, account) {
  const chain = defineChain({ ...tempoLocalnet, id: Number(chainId), rpcUrls: { default: { http: [rpc] } } })
  return createClient({ account, chain, transport: http(rpc), pollingInterval: 50 })
    .extend(publicActions)
    .extend(walletActions)
}

// What a payer's own backend does: issues a token for this amount to this seller.
export const tokens = (stripeUrl, stripeKey) =>
  async function createToken({ amount, currency, expiresAt, networkId, paymentMethod }) {
    const response = await fetch(`${stripeUrl}/v1/test_helpers/shared_payment/granted_tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stripeKey}`, 'stripe-version': '2026-07-29.preview' },
      body: new URLSearchParams({
        payment_method: paymentMethod,
        'usage_limits[currency]': currency,
        'usage_limits[max_amount]': amount,
        'usage_limits[expires_at]': String(expiresAt),
        'seller_details[network_id]': networkId,
      }),
    })
    const token = await response.json()
    if (!response.ok) throw new Error(`no token: ${JSON.stringify(token)}`)
    return token.id
  }
