// Enrollments in words, and what a form says as an enrollment. Pure functions, but for reading a chosen file.
import type { Attestation, Enrollment, NewDevice, Settings } from "./types";

/** A certificate file larger than this is none. */
export const CERTIFICATE_BYTES_MAX = 64 * 1024;

export const ALLOCATIONS = [
  ["", "As the service is set"],
  ["hashed", "Evenly, by weight"],
  ["geoLatency", "Lowest latency"],
  ["static", "One given hub"],
  ["custom", "A webhook decides"],
] as const;

export const REPROVISIONS = [
  ["migrate", "Move with its twin"],
  ["reset", "Move, and start anew"],
  ["never", "Stay where it is"],
] as const;

export function idOf(enrollment: Enrollment): string {
  return enrollment.enrollmentGroupId ?? enrollment.registrationId ?? "";
}

/** How devices prove themselves, in words. */
export function proof(attestation: Attestation): string {
  if (attestation.type === "symmetricKey") return "Symmetric key";
  if (attestation.type === "tpm") return "TPM 2.0";
  const { clientCertificates, signingCertificates, caReferences } = attestation.x509 ?? {};
  if (caReferences) return `Certificate under ${[caReferences.primary, caReferences.secondary].filter(Boolean).join(" or ")}`;
  const given = clientCertificates ?? signingCertificates;
  const names = [given?.primary, given?.secondary].flatMap((one) => (one ? [one.info.subjectName] : []));
  return `${clientCertificates ? "Certificate" : "Certificate under"} ${names.join(" or ")}`;
}

export function allocation(settings: Settings): string {
  const how = ALLOCATIONS.find(([name]) => name === (settings.allocationPolicy ?? ""))?.[1] ?? settings.allocationPolicy ?? "";
  return settings.iotHubs?.length ? `${how}: ${settings.iotHubs.join(", ")}` : how;
}

/** Without a policy devices stay where they were first assigned. */
export function reprovision(settings: Settings): string {
  const policy = settings.reprovisionPolicy;
  if (!policy?.updateHubAssignment) return "never";
  return policy.migrateDeviceData ? "migrate" : "reset";
}

export function reprovisionPolicy(word: string): Settings["reprovisionPolicy"] {
  return { updateHubAssignment: word !== "never", migrateDeviceData: word === "migrate" };
}

/** The block a new device is given, under the names the samples of the device SDKs read. */
export function deviceBlock(device: NewDevice): string {
  return [
    `PROVISIONING_HOST=${device.provisioningHost}`,
    `PROVISIONING_IDSCOPE=${device.idScope}`,
    `PROVISIONING_REGISTRATION_ID=${device.registrationId}`,
    `PROVISIONING_SYMMETRIC_KEY=${device.primaryKey}`,
  ].join("\n");
}

/** A chosen certificate as the platform takes it: PEM as it is, DER as base64. */
export async function certificateText(files: FileList | null | undefined): Promise<string> {
  const file = files?.[0];
  if (!file) throw new Error("Choose a certificate file.");
  if (file.size > CERTIFICATE_BYTES_MAX) throw new Error("This file is too large to be a certificate.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = new TextDecoder().decode(bytes);
  if (text.includes("PRIVATE KEY")) throw new Error("This file holds a private key. Choose the certificate alone; its key stays with you.");
  return text.includes("-----BEGIN") ? text : btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
