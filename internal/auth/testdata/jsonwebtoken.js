// Writes jsonwebtoken.json, the verdict of the Node library over a table of
// tokens. In an empty directory: npm install jsonwebtoken@9.0.2, then
// NODE_PATH=node_modules node .../testdata/jsonwebtoken.js > jsonwebtoken.json
const crypto = require('crypto');
const jwt = require('jsonwebtoken');

const now = 1767225600; // 2026-01-01T00:00:00Z
const secret = 'a secret of the test table, no other use';
const seed = (kind, options) => crypto.generateKeyPairSync(kind, options);
const pem = (key) => key.export({ type: 'spki', format: 'pem' });
const rsa = seed('rsa', { modulusLength: 2048 });
const ec = seed('ec', { namedCurve: 'P-256' });

const b64 = (text) => Buffer.from(text).toString('base64url');
const hmac = (text, hash = 'sha256', key = secret) =>
  crypto.createHmac(hash, key).update(text).digest('base64url');
const raw = (header, payload, key = secret) => {
  const text = b64(header) + '.' + b64(payload);
  return text + '.' + hmac(text, 'sha256', key);
};
const sign = (payload, options = {}, key = secret) =>
  jwt.sign({ iat: now, ...payload }, key, options);
const H = '{"alg":"HS256","typ":"JWT"}';

const rows = [];
const row = (name, token, options = {}, key = 'secret') => {
  const keys = { secret, rsa: pem(rsa.publicKey), ec: pem(ec.publicKey) };
  const algorithms = { secret: ['HS256'], rsa: ['RS256'], ec: ['ES256'] }[key];
  let want = '';
  try {
    jwt.verify(token, keys[key], { clockTimestamp: now, algorithms, ...options });
  } catch (err) {
    want = err.message;
  }
  rows.push({ name, token, key, ...options, want });
};

const good = sign({ id: 'ann', exp: now + 3600 });
row('valid', good);
row('valid without exp', sign({ id: 'ann' }));
row('expired', sign({ id: 'ann', exp: now - 1 }));
row('expires this second', sign({ id: 'ann', exp: now }));
row('expires next second', sign({ id: 'ann', exp: now + 1 }));
row('fractional exp ahead', raw(H, `{"id":"ann","exp":${now}.5}`));
row('fractional exp over', raw(H, `{"id":"ann","exp":${now - 1}.5}`));
row('exp is a string', raw(H, `{"id":"ann","exp":"${now + 9}"}`));
row('exp is null', raw(H, '{"id":"ann","exp":null}'));
row('exp beyond a float', raw(H, '{"id":"ann","exp":1e999}'));
row('exp negative', raw(H, '{"id":"ann","exp":-1}'));
row('exp twice, the last counts', raw(H, `{"id":"ann","exp":"x","exp":${now + 9}}`));
row('not yet active', sign({ id: 'ann', nbf: now + 3600 }));
row('active', sign({ id: 'ann', nbf: now }));
row('nbf is a string', raw(H, '{"id":"ann","nbf":"soon"}'));
row('expired and not active', sign({ id: 'ann', nbf: now + 60, exp: now - 1 }));
row('issued in the future', jwt.sign({ id: 'ann', iat: now + 3600 }, secret));

row('another secret', sign({ id: 'ann' }, {}, 'another'));
row('expired, another secret', sign({ id: 'ann', exp: now - 1 }, {}, 'another'));
row('payload changed', good.split('.')[0] + '.' + b64('{"id":"bob"}') + '.' + good.split('.')[2]);
row('last character changed', good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A'));
const spare = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
row('spare bits of the last character set',
  good.slice(0, -1) + spare[spare.indexOf(good.slice(-1)) + 1]);
row('signature cut', good.slice(0, -4));
row('signature of one character', good.slice(0, good.lastIndexOf('.')) + '.A');
row('no signature', good.slice(0, good.lastIndexOf('.') + 1));
row('alg none, no signature', b64('{"alg":"none","typ":"JWT"}') + '.' + b64('{"id":"ann"}') + '.');
row('alg none with signature', raw('{"alg":"none","typ":"JWT"}', '{"id":"ann"}'));
row('alg HS512', sign({ id: 'ann' }, { algorithm: 'HS512' }));
row('alg HS384', sign({ id: 'ann' }, { algorithm: 'HS384' }));
row('alg in small letters', raw('{"alg":"hs256","typ":"JWT"}', '{"id":"ann"}'));
row('alg unknown', raw('{"alg":"HS1","typ":"JWT"}', '{"id":"ann"}'));
row('alg missing', raw('{"typ":"JWT"}', '{"id":"ann"}'));
row('alg is a number', raw('{"alg":5,"typ":"JWT"}', '{"id":"ann"}'));
row('RS256 where a secret is configured', sign({ id: 'ann' }, { algorithm: 'RS256' }, rsa.privateKey));
row('alg unknown, no signature', b64('{"alg":"x","typ":"JWT"}') + '.' + b64('{"id":"ann"}') + '.');

row('one part', 'abc');
row('two parts', 'abc.def');
row('four parts', good + '.x');
row('null as text', 'null');
row('undefined as text', 'undefined');
row('Bearer in front', 'Bearer ' + good);
row('quotes around', '"' + good + '"');
row('line break at the end', good + '\n');
row('padding', good + '=');
row('three empty parts', '..');
row('empty header', '.' + good.split('.').slice(1).join('.'));
row('empty payload', good.split('.')[0] + '..' + good.split('.')[2]);
row('header no JSON', b64('nonsense') + '.' + b64('{}') + '.abc');
row('three words', 'a.b.c');
row('header null', b64('null') + '.' + b64('{}') + '.abc');

row('issuer right', sign({ id: 'ann', iss: 'hometrip' }), { issuer: 'hometrip' });
row('issuer wrong', sign({ id: 'ann', iss: 'other' }), { issuer: 'hometrip' });
row('issuer missing', sign({ id: 'ann' }), { issuer: 'hometrip' });
row('audience right', sign({ id: 'ann', aud: 'chat' }), { audience: 'chat' });
row('audience in a list', sign({ id: 'ann', aud: ['web', 'chat'] }), { audience: 'chat' });
row('audience wrong', sign({ id: 'ann', aud: ['web'] }), { audience: 'chat' });
row('audience missing', sign({ id: 'ann' }), { audience: 'chat' });
row('audience and issuer wrong', sign({ id: 'ann' }), { audience: 'chat', issuer: 'hometrip' });
row('issuer wrong and expired', sign({ id: 'ann', exp: now - 1 }), { issuer: 'hometrip' });

const rs = sign({ id: 'ann' }, { algorithm: 'RS256' }, rsa.privateKey);
row('RS256 valid', rs, {}, 'rsa');
row('RS256 changed', rs.replace(/\.[^.]*\./, '.' + b64('{"id":"bob"}') + '.'), {}, 'rsa');
row('RS256 no signature', rs.slice(0, rs.lastIndexOf('.') + 1), {}, 'rsa');
row('HS256 signed with the RSA public key', raw(H, '{"id":"ann"}', pem(rsa.publicKey)), {}, 'rsa');
row('PS256 where RS256 is configured', sign({ id: 'ann' }, { algorithm: 'PS256' }, rsa.privateKey), {}, 'rsa');
const es = sign({ id: 'ann' }, { algorithm: 'ES256' }, ec.privateKey);
row('ES256 valid', es, {}, 'ec');
row('ES256 changed', es.replace(/\.[^.]*\./, '.' + b64('{"id":"bob"}') + '.'), {}, 'ec');
row('HS256 signed with the EC public key', raw(H, '{"id":"ann"}', pem(ec.publicKey)), {}, 'ec');
row('RS256 where ES256 is configured', rs, {}, 'ec');

const table = { now, secret, rsa: pem(rsa.publicKey), ec: pem(ec.publicKey), rows };
console.log(JSON.stringify(table, null, 1));
