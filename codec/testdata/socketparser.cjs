// Decodes Socket.IO packets with the npm package socket.io-parser: one packet
// a line, in base64; one answer a line, in JSON. The working directory is where
// the package is installed.
const { createRequire } = require('module');
const { Decoder } = createRequire(process.cwd() + '/')('socket.io-parser');

const bits = new DataView(new ArrayBuffer(8));
let unpaired = false;

// canonical writes a value so that equal ones look alike: numbers as the bits
// of their float64, strings in hexadecimal UTF-8, members in order.
function canonical(value) {
  switch (typeof value) {
    case 'number':
      bits.setFloat64(0, value);
      return 'n' + bits.getBigUint64(0).toString(16).padStart(16, '0');
    case 'string':
      unpaired ||= !value.isWellFormed();
      return 's' + Buffer.from(value).toString('hex');
    case 'boolean':
      return String(value);
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return '[' + value.map(canonical).join() + ']';
  return '{' + Object.keys(value).map((key) => canonical(key) + ':' + canonical(value[key])).sort().join() + '}';
}

function decode(text) {
  let packet;
  try {
    packet = new Decoder().decodeString(text);
  } catch {
    return { refused: true };
  }
  unpaired = false;
  const { type, nsp, id = -1, attachments = 0, data } = packet;
  const answer = { type, nsp, id: String(id), attachments, name: typeof data?.[0] };
  try {
    if (data !== undefined) answer.data = canonical(data);
  } catch {
    answer.data = 'too deep'; // for this stack, not for the parser
  }
  return { ...answer, unpaired };
}

let rest = '';
process.stdin.setEncoding('latin1').on('data', (chunk) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    process.stdout.write(JSON.stringify(decode(Buffer.from(line, 'base64').toString())) + '\n');
  }
});
