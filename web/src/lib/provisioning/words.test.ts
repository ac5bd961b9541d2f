import { describe, expect, it } from "vitest";
import { CERTIFICATE_BYTES_MAX, allocation, certificateText, deviceBlock, proof, reprovision, reprovisionPolicy } from "./words";

const info = (subjectName: string) => ({ info: { subjectName, sha256Thumbprint: "00", notAfterUtc: "2030-01-01T00:00:00Z" } });
const files = (content: BlobPart) => [new File([content], "c.pem")] as unknown as FileList;

describe("words", () => {
  it("says how devices prove themselves", () => {
    expect(proof({ type: "symmetricKey" })).toBe("Symmetric key");
    expect(proof({ type: "x509", x509: { caReferences: { primary: "a", secondary: "b" } } })).toBe("Certificate under a or b");
    expect(proof({ type: "x509", x509: { signingCertificates: { primary: info("CN=root") } } })).toBe("Certificate under CN=root");
    expect(proof({ type: "x509", x509: { clientCertificates: { secondary: info("CN=leaf") } } })).toBe("Certificate CN=leaf");
  });
  it("says where devices go", () => {
    expect(allocation({})).toBe("As the service is set");
    expect(allocation({ allocationPolicy: "static", iotHubs: ["a"] })).toBe("One given hub: a");
  });
  it("reads back each reprovisioning it writes, and none as staying", () => {
    for (const word of ["migrate", "reset", "never"]) expect(reprovision({ reprovisionPolicy: reprovisionPolicy(word) })).toBe(word);
    expect(reprovision({})).toBe("never");
  });
  it("writes the block one variable a line", () => {
    const block = deviceBlock({ provisioningHost: "h", idScope: "s", registrationId: "r", primaryKey: "a+/=" });
    expect(block.split("\n")).toEqual(["PROVISIONING_HOST=h", "PROVISIONING_IDSCOPE=s", "PROVISIONING_REGISTRATION_ID=r", "PROVISIONING_SYMMETRIC_KEY=a+/="]);
  });
});

describe("certificate files", () => {
  it("keeps PEM and encodes DER", async () => {
    expect(await certificateText(files("-----BEGIN CERTIFICATE-----\n"))).toBe("-----BEGIN CERTIFICATE-----\n");
    expect(await certificateText(files(new Uint8Array([0x30, 0x82, 0xff])))).toBe("MIL/");
  });
  it("refuses private keys, large files and none", async () => {
    await expect(certificateText(files("-----BEGIN PRIVATE KEY-----"))).rejects.toThrow("private key");
    await expect(certificateText(files("x".repeat(CERTIFICATE_BYTES_MAX + 1)))).rejects.toThrow("too large");
    await expect(certificateText(null)).rejects.toThrow("Choose");
  });
});
