// The shapes of the provisioning service, as docs/platform-api.md has them.

export type EnrollmentKind = "enrollmentGroups" | "enrollments";

export interface Registration {
  registrationId: string;
  status: "assigning" | "assigned" | "failed" | "disabled";
  assignedHub?: string;
  deviceId?: string;
  errorMessage?: string;
  lastUpdatedDateTimeUtc: string;
}

export interface CertificateInfo {
  info: { subjectName: string; sha256Thumbprint: string; notAfterUtc: string };
}

interface Slots<T> {
  primary?: T;
  secondary?: T;
}

export interface Attestation {
  type: "symmetricKey" | "x509" | "tpm";
  symmetricKey?: { primaryKey: string; secondaryKey: string };
  tpm?: { endorsementKey: string };
  x509?: {
    clientCertificates?: Slots<CertificateInfo>;
    signingCertificates?: Slots<CertificateInfo>;
    caReferences?: Slots<string>;
  };
}

export interface Settings {
  iotHubs?: string[];
  allocationPolicy?: string;
  customAllocationDefinition?: { webhookUrl: string; apiVersion: string };
  reprovisionPolicy?: { updateHubAssignment: boolean; migrateDeviceData: boolean };
  initialTwin?: { tags?: Record<string, unknown>; properties?: { desired?: Record<string, unknown> } };
  capabilities?: { iotEdge: boolean };
}

export interface Enrollment extends Settings {
  enrollmentGroupId?: string;
  registrationId?: string;
  deviceId?: string;
  attestation: Attestation;
  provisioningStatus: "enabled" | "disabled";
  etag: string;
  createdDateTimeUtc: string;
  registrationState?: Registration;
}

/** An enrollment as it is written: certificates as PEM or base64 where the answer has `info`. */
export type EnrollmentWrite = Omit<Enrollment, "attestation" | "etag" | "createdDateTimeUtc"> & { attestation: unknown };

export interface Page<T> {
  value: T[];
  next: string | null;
}

/** All a new device must be told. */
export interface NewDevice {
  provisioningHost: string;
  idScope: string;
  registrationId: string;
  primaryKey: string;
}

export interface LinkedHub {
  name: string;
  allocationWeight: number;
  applyAllocationPolicy: boolean;
  own: boolean;
  latencyMs: number | null;
}

export interface Authority {
  name: string;
  etag: string;
  properties: { subject: string; thumbprint: string; expiry: string; isVerified: boolean; verificationCode: string | null };
}
