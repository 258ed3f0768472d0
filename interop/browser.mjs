// One page in a headless Chromium: node browser.mjs CHROMIUM URL light|dark SELECTOR PICTURE [CLICK…], answered by one line of
// JSON.
//
// Waits for SELECTOR, clicks on each CLICK, and reports what the page consists of, every address
// it asked for, what the browser complained of, and what axe finds against WCAG 2.2 A and AA.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import puppeteer from 'puppeteer-core'

const [executablePath, url, scheme, selector, path, ...clicks] = process.argv.slice(2)
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const browser = await puppeteer.launch({
  executablePath,
  headless: true,
  // Tests may run as root, where the sandbox does not start.
  args: ['--no-sandbox', '--disable-gpu'],
})
try {
  const page = await browser.newPage()
  await page.setViewport({ width: 900, height: 1200 })
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
  const asked = []
  const complaints = []
  page.on('request', (request) => asked.push(request.url()))
  page.on('console', (message) => complaints.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => complaints.push(`error: ${error.message}`))
  await page.goto(url, { waitUntil: 'networkidle0' })
  await page.waitForSelector(selector, { timeout: 30_000 })
  for (const click of clicks) await (await page.waitForSelector(click, { timeout: 30_000 })).click()
  await page.waitForNetworkIdle()
  const dom = await page.content()
  const text = await page.evaluate(() => document.body.innerText)
  await page.screenshot({ path, fullPage: true })
  // The protocol of the developer tools is not bound by the page's policy; a script element would be.
  await page.evaluate(axe)
  const found = await page.evaluate(() =>
    axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  )
  const violations = found.violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.target.join(' ')).join(', ')}`,
  )
  console.log(JSON.stringify({ dom, text, asked, complaints, violations, checked: found.passes.length }))
} finally {
  await browser.close()
}
