// Reads env files as Node's `dotenv` does: one JSON string with a file's text a line on stdin, one JSON list of name and value
// pairs a line on stdout.

import { createInterface } from 'node:readline'
import dotenv from 'dotenv'

for await (const line of createInterface({ input: process.stdin })) {
  // As from a file, so that a byte order mark stays.
  const variables = dotenv.parse(Buffer.from(JSON.parse(line), 'utf8'))
  process.stdout.write(`${JSON.stringify(Object.entries(variables))}\n`)
}
