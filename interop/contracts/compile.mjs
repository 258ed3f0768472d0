// Writes Token.hex, the creation code of Token.sol. Only for who changes the token: the result is committed.
//
//   npm install --no-audit --no-fund --no-package-lock && npm run build
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import solc from 'solc'

const require = createRequire(import.meta.url)
const input = {
  language: 'Solidity',
  sources: { 'Token.sol': { content: readFileSync(new URL('Token.sol', import.meta.url), 'utf8') } },
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: 'cancun',
    metadata: { bytecodeHash: 'none', appendCBOR: false },
    outputSelection: { 'Token.sol': { Token: ['evm.bytecode.object'] } },
  },
}
const found = (path) => ({ contents: readFileSync(require.resolve(path), 'utf8') })
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: found }))
for (const error of output.errors ?? []) console.error(error.formattedMessage)
if (output.errors?.some((error) => error.severity === 'error')) process.exit(1)
writeFileSync(new URL('Token.hex', import.meta.url), `0x${output.contracts['Token.sol'].Token.evm.bytecode.object}\n`)
