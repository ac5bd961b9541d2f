// An OpenID provider for test_sign_in.py: `oidc-provider` with its own login form, over TLS. Anybody signs in with any
// password; what their claims say follows from the name. Not part of gantry.
//
//   node provider.mjs PORT CERTIFICATE KEY REDIRECT_URI
//
// `POST /tamper?how=WORD` makes the next id tokens wrong in one way, signed with the provider's own key unless that is
// what is wrong.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import * as jose from "jose";
import { Provider } from "oidc-provider";

const [port, certificate, key, redirectUri] = process.argv.slice(2);
const issuer = `https://127.0.0.1:${port}`;
const pair = await jose.generateKeyPair("RS256", { extractable: true });
const other = await jose.generateKeyPair("RS256", { extractable: true });
const jwk = { ...(await jose.exportJWK(pair.privateKey)), kid: "one", use: "sig", alg: "RS256" };

/** Who they are: `mallory` says of an address what nobody verified, `eve` is in no group. */
const claimsOf = (sub) => ({
  sub,
  name: `${sub} of Works`,
  email: `${sub}@works.example`,
  email_verified: sub !== "mallory",
  groups: { alice: ["plant-admins", "everybody"], bob: ["plant-staff"], mallory: ["plant-admins"], carol: ["partners"] }[sub] ?? [],
});

const client = (id) => ({
  client_id: id,
  client_secret: "a secret of the provider's & ours",
  redirect_uris: [redirectUri],
  response_types: ["code"],
  grant_types: ["authorization_code"],
  token_endpoint_auth_method: "client_secret_post",
});

const provider = new Provider(issuer, {
  clients: [client("gantry"), client("another")],
  claims: { openid: ["sub"], profile: ["name", "groups"], email: ["email", "email_verified"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ["of this run only"] },
  jwks: { keys: [jwk] },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => claimsOf(sub) }),
});

let tamper = "";
const ways = {
  audience: (claims) => ({ ...claims, aud: "another" }),
  audiences: (claims) => ({ ...claims, aud: ["gantry", "another"] }),
  nonce: (claims) => ({ ...claims, nonce: "another" }),
  issuer: (claims) => ({ ...claims, iss: "https://127.0.0.1:1" }),
  expired: (claims) => ({ ...claims, exp: claims.iat - 600 }),
  old: (claims) => ({ ...claims, iat: claims.iat - 86_400 }),
  key: (claims) => claims,
  none: (claims) => claims,
  hmac: (claims) => claims,
};

const sign = (claims, alg, by) => new jose.SignJWT(claims).setProtectedHeader({ alg, kid: "one" }).sign(by);

async function wrong(token) {
  const claims = ways[tamper](jose.decodeJwt(token));
  if (tamper === "key") return sign(claims, "RS256", other.privateKey);
  if (tamper === "none") return new jose.UnsecuredJWT(claims).encode();
  // The public key, which everybody knows, as if it were a secret.
  if (tamper === "hmac") return sign(claims, "HS256", new TextEncoder().encode(await jose.exportSPKI(pair.publicKey)));
  return sign(claims, "RS256", pair.privateKey);
}

provider.use(async (context, next) => {
  await next();
  if (context.path === "/token" && tamper && context.body?.id_token) context.body.id_token = await wrong(context.body.id_token);
});

const answer = provider.callback();
createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname !== "/tamper") return answer(request, response);
  tamper = url.searchParams.get("how") ?? "";
  response.writeHead(tamper === "" || ways[tamper] ? 204 : 400).end();
}).listen(Number(port), "127.0.0.1", () => console.log("listening"));
