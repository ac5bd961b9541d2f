// A MOCK of the provisioning routes: keeps what it is given. Part of the mock platform; see server.mjs.
import { X509Certificate, createHmac } from "node:crypto";

const KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
export const SCOPE = "0ne0000MOCK";

/** Certificates come back as `info` only. */
function withInfo(attestation) {
  return JSON.parse(JSON.stringify(attestation), (_, value) => {
    if (!value?.certificate) return value;
    const read = new X509Certificate(value.certificate);
    return { info: { subjectName: read.subject, sha256Thumbprint: read.fingerprint256.replaceAll(":", ""), notAfterUtc: new Date(read.validTo).toISOString() } };
  });
}

export function createProvisioning() {
  const rooms = { enrollmentGroups: new Map(), enrollments: new Map() };
  const registrations = new Map();
  const authorities = new Map();
  let changes = 0;
  const refuse = (status, code, message) => [status, { error: { code, message } }];
  const shown = ({ keys: _keys, ...enrollment }) => enrollment;

  function put(room, id, body, etag) {
    const stored = rooms[room].get(id);
    if (stored && etag !== stored.etag) return etag ? refuse(412, "PreconditionFailed", "etag does not match") : refuse(409, "Conflict", `enrollment \`${id}\` exists already`);
    const keys = body.attestation.symmetricKey ?? stored?.keys;
    const primaryKey = keys?.primaryKey ?? KEY;
    const attestation = body.attestation.type === "symmetricKey" ? { type: "symmetricKey" } : withInfo(body.attestation);
    const enrollment = { ...body, attestation, keys: { primaryKey, secondaryKey: primaryKey }, etag: `"${(changes += 1)}"`, createdDateTimeUtc: new Date().toISOString() };
    rooms[room].set(id, enrollment);
    return [200, shown(enrollment)];
  }

  function enrollment(method, room, id, action, body, etag) {
    if (method === "PUT") return put(room, id, body, etag);
    const found = rooms[room].get(id);
    if (!found) return refuse(404, "NotFound", `enrollment \`${id}\` is unknown`);
    if (method === "DELETE") return rooms[room].delete(id), [204];
    if (action === "attestationmechanism") return [200, { ...found.attestation, symmetricKey: found.keys }];
    if (action === "registrations") return [200, { value: [...registrations.values()].filter((one) => one.group === id), next: null }];
    if (action === "deviceKey") {
      const { registrationId } = room === "enrollments" ? { registrationId: id } : body;
      if (!/^[\w.:-]*[\w:]$/.test(registrationId)) return refuse(400, "Invalid", "registration id: a character is not allowed");
      const own = Buffer.from(found.keys.primaryKey, "base64");
      const primaryKey = room === "enrollments" ? found.keys.primaryKey : createHmac("sha256", own).update(registrationId).digest("base64");
      return [200, { provisioningHost: "localhost", idScope: SCOPE, registrationId, primaryKey, secondaryKey: primaryKey }];
    }
    return [200, shown(found)];
  }

  function authority(method, name, action, body) {
    if (method === "PUT") {
      const expiry = new Date(Date.now() + 365 * 86_400_000).toISOString();
      authorities.set(name, { name, etag: '"1"', properties: { subject: `CN=${name}`, thumbprint: "00", expiry, isVerified: false, verificationCode: null, certificate: body.certificate } });
    }
    const found = authorities.get(name);
    if (!found) return refuse(404, "NotFound", `certificate \`${name}\` is unknown`);
    if (method === "DELETE") return authorities.delete(name), [204];
    if (action === "generateVerificationCode") found.properties.verificationCode = "MOCKCODE";
    if (action === "verify") found.properties.isVerified = true;
    return [200, found];
  }

  return {
    /** Answers `/provisioning/ROOM/ID/ACTION` with a status and a body. */
    answer(method, [room, id, action], body, etag) {
      if (room === "instance") return [200, { hostName: "localhost", idScope: SCOPE }];
      if (room === "hubs") return [200, { value: [{ name: "localhost", allocationWeight: 1, applyAllocationPolicy: true, own: true, latencyMs: null }] }];
      if (room === "certificates") return id ? authority(method, id, action, body) : [200, { value: [...authorities.values()] }];
      if (room === "registrations") return registrations.delete(id) ? [204] : refuse(404, "NotFound", `registration \`${id}\` is unknown`);
      if (!rooms[room]) return refuse(404, "NotFound", "There is no such path.");
      if (!id) return [200, { value: [...rooms[room].values()].map(shown), next: null }];
      return enrollment(method, room, id, action, body, etag);
    },
    /** A device registers: by its own enrollment, or taken into the newest group. The mock checks no token. */
    register(registrationId) {
      const own = rooms.enrollments.get(registrationId);
      const group = own ? undefined : [...rooms.enrollmentGroups.keys()].at(-1);
      const state = { registrationId, group, status: "assigned", assignedHub: "localhost", deviceId: own?.deviceId ?? registrationId, lastUpdatedDateTimeUtc: new Date().toISOString() };
      if (own) own.registrationState = state;
      else registrations.set(registrationId, state);
      return [200, { operationId: "4.mock", status: "assigned", registrationState: state }];
    },
  };
}
