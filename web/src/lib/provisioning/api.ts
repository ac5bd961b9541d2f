// Calls to the provisioning routes of the platform API.
import { call } from "../api";
import type { Attestation, Authority, Enrollment, EnrollmentKind, EnrollmentWrite, LinkedHub, NewDevice, Page, Registration } from "./types";

const BASE = "/provisioning";
const at = (...parts: string[]) => [BASE, ...parts.map(encodeURIComponent)].join("/");
const page = (path: string, after: string | null) => (after === null ? path : `${path}?after=${encodeURIComponent(after)}`);

export const provisioning = {
  instance: () => call<{ hostName: string; idScope: string }>("GET", at("instance")),
  list: (kind: EnrollmentKind, after: string | null) => call<Page<Enrollment>>("GET", page(at(kind), after)),
  show: (kind: EnrollmentKind, id: string) => call<Enrollment>("GET", at(kind, id)),
  /** Creates; with an `etag`, replaces what has it. */
  put: (kind: EnrollmentKind, id: string, body: EnrollmentWrite, etag?: string) =>
    call<Enrollment>("PUT", at(kind, id), body, etag ? { "if-match": etag } : {}),
  remove: (kind: EnrollmentKind, id: string) => call<unknown>("DELETE", at(kind, id)),
  keys: (kind: EnrollmentKind, id: string) => call<Attestation>("POST", at(kind, id, "attestationmechanism")),
  deviceKey: (kind: EnrollmentKind, id: string, registrationId: string) => call<NewDevice>("POST", at(kind, id, "deviceKey"), { registrationId }),
  registrations: (group: string, after: string | null) => call<Page<Registration>>("GET", page(at("enrollmentGroups", group, "registrations"), after)),
  removeRegistration: (id: string) => call<unknown>("DELETE", at("registrations", id)),
  hubs: async () => (await call<{ value: LinkedHub[] }>("GET", at("hubs"))).value,
  linkHub: (body: unknown) => call<LinkedHub>("POST", at("hubs"), body),
  unlinkHub: (name: string) => call<unknown>("DELETE", at("hubs", name)),
  authorities: async () => (await call<{ value: Authority[] }>("GET", at("certificates"))).value,
  addAuthority: (name: string, certificate: string) => call<Authority>("PUT", at("certificates", name), { certificate, isVerified: false }),
  drawCode: (name: string) => call<Authority>("POST", at("certificates", name, "generateVerificationCode")),
  verify: (name: string, certificate: string) => call<Authority>("POST", at("certificates", name, "verify"), { certificate }),
  removeAuthority: (name: string) => call<unknown>("DELETE", at("certificates", name)),
};
