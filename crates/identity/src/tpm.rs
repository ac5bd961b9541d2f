//! TPM 2.0: the service's half of a proof that a device holds a TPM, and of giving that TPM a key.
//!
//! The device shows two public keys of its TPM: the endorsement key (EK), which the operator enrolled, and the storage
//! root key (SRK). [`TpmKeys::wrap`] makes what only that TPM can open: a credential that it gives back only where the
//! EK and that very SRK are loaded (`TPM2_MakeCredential`), and under it, and under the SRK, a signing key to import
//! (`TPM2_Import`, with inner and outer wrapper). The key never leaves the TPM: the device proves that it has it by
//! signing. Formats are those of the TPM library specification 2.0, parts 1 and 2; the blob is laid out as
//! `azure-iot-security-tpm` reads it:
//!
//! ```text
//! TPM2B_ID_OBJECT  TPM2B_ENCRYPTED_SECRET   the credential: the key of the inner wrapper
//! TPM2B_PRIVATE    TPM2B_ENCRYPTED_SECRET   the signing key, a duplicate under the SRK
//! TPM2B_PUBLIC     TPM2B_DATA               its public part, and nothing
//! ```
//!
//! Taken: RSA 2048 with SHA-256 names and AES-CFB, the template every TPM has. Left out: elliptic curves, other hashes.

use aws_lc_rs::cipher::{AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Key;

const ALG_RSA: u16 = 0x0001;
const ALG_HMAC: u16 = 0x0005;
const ALG_AES: u16 = 0x0006;
const ALG_KEYEDHASH: u16 = 0x0008;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_CFB: u16 = 0x0043;

/// Object attributes (part 2, 8.3).
const FIXED_TPM: u32 = 1 << 1;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// Bytes of an RSA 2048 modulus.
const MODULUS_LEN: usize = 256;
/// Exponent that is written as 0 too.
const EXPONENT: u32 = 65_537;
/// Largest `TPM2B_PUBLIC` looked at, in bytes.
const PUBLIC_LEN_MAX: usize = 1024;
/// `SubjectPublicKeyInfo` of an RSA 2048 key up to its modulus, whose highest bit is set, and what follows it.
const SPKI_HEAD: &[u8] =
    b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00\
\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
const SPKI_TAIL: &[u8] = b"\x02\x03\x01\x00\x01";

/// Why a key of a TPM cannot be used.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub enum TpmError {
    /// Not a `TPM2B_PUBLIC`.
    #[error("not a TPM2B_PUBLIC")]
    Malformed,
    /// Another algorithm or size.
    #[error("only RSA 2048 keys with SHA-256 and AES-CFB are taken")]
    Algorithm,
    /// A key that may leave its TPM, or may do more than unwrap what the TPM itself checks.
    #[error("not a restricted decryption key that is fixed to its TPM")]
    Attributes,
    /// No encryption is possible under it.
    #[error("not an RSA public key")]
    Modulus,
}

/// The public part of a restricted decryption key: an EK or an SRK.
#[derive(Clone, PartialEq, Eq)]
pub struct TpmPublic {
    /// `TPMT_PUBLIC`.
    area: Vec<u8>,
    modulus: Box<[u8; MODULUS_LEN]>,
    /// Bits of the AES keys it derives.
    symmetric_bits: u16,
}

impl std::fmt::Debug for TpmPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TpmPublic").field("area_len", &self.area.len()).finish_non_exhaustive()
    }
}

/// Reads big-endian fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TpmError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TpmError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().map_err(|_| TpmError::Malformed)?))
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().map_err(|_| TpmError::Malformed)?))
    }

    fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

impl TpmPublic {
    /// Reads a `TPM2B_PUBLIC`.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        if bytes.len() > PUBLIC_LEN_MAX {
            return Err(TpmError::Malformed);
        }
        let mut whole = Fields(bytes);
        let area = whole.sized()?;
        if !whole.0.is_empty() {
            return Err(TpmError::Malformed);
        }
        let mut fields = Fields(area);
        if (fields.u16()?, fields.u16()?) != (ALG_RSA, ALG_SHA256) {
            return Err(TpmError::Algorithm);
        }
        let attributes = fields.u32()?;
        let needed = FIXED_TPM | RESTRICTED | DECRYPT;
        if attributes & (needed | SIGN) != needed {
            return Err(TpmError::Attributes);
        }
        let _policy = fields.sized()?;
        let (cipher, symmetric_bits, mode) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let (scheme, bits, exponent) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let is_known = cipher == ALG_AES && matches!(symmetric_bits, 128 | 256) && mode == ALG_CFB;
        if !is_known || scheme != ALG_NULL || bits != 2048 || !matches!(exponent, 0 | EXPONENT) {
            return Err(TpmError::Algorithm);
        }
        let modulus: [u8; MODULUS_LEN] = fields.sized()?.try_into().map_err(|_| TpmError::Algorithm)?;
        if !fields.0.is_empty() {
            return Err(TpmError::Malformed);
        }
        let public = Self { area: area.to_vec(), modulus: Box::new(modulus), symmetric_bits };
        public.encrypting_key().map(|_| public)
    }

    /// The key as `TPM2B_PUBLIC`.
    pub fn to_bytes(&self) -> Vec<u8> {
        sized(&self.area)
    }

    fn encrypting_key(&self) -> Result<OaepPublicEncryptingKey, TpmError> {
        let spki = [SPKI_HEAD, &self.modulus[..], SPKI_TAIL].concat();
        let key = PublicEncryptingKey::from_der(&spki).map_err(|_| TpmError::Modulus)?;
        OaepPublicEncryptingKey::new(key).map_err(|_| TpmError::Modulus)
    }

    /// `TPM2B_ENCRYPTED_SECRET`: a seed under this key (part 1, B.10.4). The label has its final zero.
    fn encrypt_seed(&self, seed: &[u8], label: &[u8]) -> Result<Vec<u8>, TpmError> {
        let mut out = [0; MODULUS_LEN];
        let encrypted = self.encrypting_key()?.encrypt(&OAEP_SHA256_MGF1SHA256, seed, &mut out, Some(label));
        encrypted.map(|bytes| sized(bytes)).map_err(|_| TpmError::Modulus)
    }

    /// Protects `content` under a seed and binds it to an object's name: `TPM2B(integrity TPM2B, encrypted content)`
    /// (part 1, 24 and 23.3). The same for a credential and for the outer wrapper of a duplicate.
    fn protect(&self, seed: &[u8; 32], name: &[u8], mut content: Zeroizing<Vec<u8>>) -> Vec<u8> {
        let key = derive(seed, b"STORAGE", name, self.symmetric_bits);
        encrypt_cfb(&key, &mut content);
        let integrity = hmac(&derive(seed, b"INTEGRITY", &[], 256), &[&content, name]);
        sized(&[&sized(&integrity[..])[..], &content].concat())
    }
}

/// The two keys a device's TPM shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmKeys {
    /// Endorsement key.
    pub endorsement: TpmPublic,
    /// Storage root key.
    pub storage_root: TpmPublic,
}

/// Random bytes for one [`TpmKeys::wrap`].
pub struct WrapEntropy(Zeroizing<[u8; 112]>);

impl WrapEntropy {
    /// Draws them.
    pub fn draw(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; 112]);
        fill(&mut bytes[..]);
        Self(bytes)
    }

    fn parts(&self) -> (&[u8; 32], &[u8; 32], &[u8; 32], &[u8]) {
        let part = |at: usize| self.0[at..at + 32].try_into().expect("a part has 32 bytes");
        (part(0), part(32), part(64), &self.0[96..])
    }
}

impl TpmKeys {
    /// Wraps a signing key for the TPM that has both keys.
    ///
    /// # Errors
    /// [`TpmError::Modulus`], when a modulus is good for nothing.
    pub fn wrap(&self, key: &Key, entropy: &WrapEntropy) -> Result<Vec<u8>, TpmError> {
        let (credential_seed, duplicate_seed, obfuscation, inner_key) = entropy.parts();
        let public = signing_public(obfuscation, key.bytes());
        let name = name_of(&public);

        // TPMT_SENSITIVE: type, no authorization value, the obfuscation value, the key.
        let none = sized(&[]);
        let fields = [&ALG_KEYEDHASH.to_be_bytes()[..], &none, &sized(obfuscation), &sized(key.bytes())];
        let sensitive = Zeroizing::new(sized(&Zeroizing::new(fields.concat())));
        let integrity = Sha256::digest([&sensitive[..], &name].concat());
        let mut inner = Zeroizing::new([&sized(&integrity)[..], &sensitive].concat());
        encrypt_cfb(inner_key, &mut inner);

        let root_name = name_of(&self.storage_root.area);
        let credential = Zeroizing::new(sized(inner_key));
        Ok([
            self.endorsement.protect(credential_seed, &root_name, credential),
            self.endorsement.encrypt_seed(credential_seed, b"IDENTITY\0")?,
            self.storage_root.protect(duplicate_seed, &name, inner),
            self.storage_root.encrypt_seed(duplicate_seed, b"DUPLICATE\0")?,
            sized(&public),
            none,
        ]
        .concat())
    }
}

/// `TPMT_PUBLIC` of an HMAC-SHA256 key that comes from outside.
fn signing_public(obfuscation: &[u8], key: &[u8]) -> Vec<u8> {
    let unique = Sha256::new().chain_update(obfuscation).chain_update(key).finalize();
    let mut area = Vec::new();
    for field in [ALG_KEYEDHASH, ALG_SHA256] {
        area.extend(field.to_be_bytes());
    }
    area.extend((USER_WITH_AUTH | NO_DA | SIGN).to_be_bytes());
    area.extend(sized(&[])); // authPolicy
    for field in [ALG_HMAC, ALG_SHA256] {
        area.extend(field.to_be_bytes());
    }
    area.extend(sized(&unique));
    area
}

/// The name of an object: its hash under its own name algorithm (part 1, 16).
fn name_of(area: &[u8]) -> Vec<u8> {
    [&ALG_SHA256.to_be_bytes()[..], &Sha256::digest(area)].concat()
}

/// `TPM2B`: the length in two bytes, and the bytes. What is sized here has a few hundred.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("structures of keys are small");
    [&len.to_be_bytes()[..], bytes].concat()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// KDFa (part 1, 11.4.10.2) for keys of at most one hash.
fn derive(key: &[u8], label: &[u8], context: &[u8], bits: u16) -> Zeroizing<Vec<u8>> {
    let bits_field = u32::from(bits).to_be_bytes();
    let block = hmac(key, &[&1_u32.to_be_bytes(), label, &[0], context, &bits_field]);
    Zeroizing::new(block[..usize::from(bits / 8)].to_vec())
}

/// AES in CFB mode from a zero vector: every key is for one content.
fn encrypt_cfb(key: &[u8], content: &mut [u8]) {
    let algorithm: &'static Algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let cipher = UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::cfb128);
    let cipher = cipher.expect("an AES key has 16 or 32 bytes");
    let vector = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    cipher.less_safe_encrypt(content, vector).expect("CFB takes content of any length");
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::cipher::{DecryptingKey, DecryptionContext};
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    /// As much of a TPM as the device needs.
    struct Tpm {
        endorsement: (OaepPrivateDecryptingKey, Vec<u8>),
        root: (OaepPrivateDecryptingKey, Vec<u8>),
    }

    fn area(modulus: &[u8], attributes: u32) -> Vec<u8> {
        let mut area = Vec::new();
        for field in [ALG_RSA, ALG_SHA256] {
            area.extend(field.to_be_bytes());
        }
        area.extend(attributes.to_be_bytes());
        area.extend(sized(&[7; 32]));
        for field in [ALG_AES, 128, ALG_CFB, ALG_NULL, 2048] {
            area.extend(u16::to_be_bytes(field));
        }
        area.extend(0_u32.to_be_bytes());
        area.extend(sized(modulus));
        area
    }

    fn key_pair() -> (OaepPrivateDecryptingKey, Vec<u8>) {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki = private.public_key().as_der().unwrap();
        let modulus = &spki.as_ref()[SPKI_HEAD.len()..SPKI_HEAD.len() + MODULUS_LEN];
        let area = area(modulus, FIXED_TPM | RESTRICTED | DECRYPT);
        (OaepPrivateDecryptingKey::new(private).unwrap(), area)
    }

    fn decrypt_cfb(key: &[u8], content: &[u8]) -> Vec<u8> {
        let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_128, key).unwrap()).unwrap();
        let (mut content, vector) = (content.to_vec(), DecryptionContext::Iv128(FixedLength::from([0; 16])));
        key.decrypt(&mut content, vector).unwrap();
        content
    }

    impl Tpm {
        fn new() -> Self {
            Self { endorsement: key_pair(), root: key_pair() }
        }

        fn keys(&self) -> TpmKeys {
            let parse = |area: &[u8]| TpmPublic::parse(&sized(area)).unwrap();
            TpmKeys { endorsement: parse(&self.endorsement.1), storage_root: parse(&self.root.1) }
        }

        fn unprotect(
            key: &OaepPrivateDecryptingKey,
            label: &[u8],
            secret: &[u8],
            blob: &[u8],
            name: &[u8],
        ) -> Option<Vec<u8>> {
            let mut seed = [0; MODULUS_LEN];
            let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, Some(label)).ok()?;
            let mut fields = Fields(blob);
            let integrity = fields.sized().ok()?;
            let expected = hmac(&derive(seed, b"INTEGRITY", &[], 256), &[fields.0, name]);
            (integrity == &expected[..]).then(|| decrypt_cfb(&derive(seed, b"STORAGE", name, 128), fields.0))
        }

        /// `TPM2_ActivateCredential` and `TPM2_Import`: the key, if the blob is for this TPM.
        fn open(&self, blob: &[u8]) -> Option<Vec<u8>> {
            let mut fields = Fields(blob);
            let mut next = || fields.sized().unwrap();
            let (credential, secret, duplicate, seed, public, data) = (next(), next(), next(), next(), next(), next());
            assert!(fields.0.is_empty() && data.is_empty());
            let root_name = name_of(&self.root.1);
            let credential = Self::unprotect(&self.endorsement.0, b"IDENTITY\0", secret, credential, &root_name)?;
            let inner_key = Fields(&credential).sized().unwrap();
            let name = name_of(public);
            let inner = Self::unprotect(&self.root.0, b"DUPLICATE\0", seed, duplicate, &name)?;
            let inner = decrypt_cfb(inner_key, &inner);
            let mut fields = Fields(&inner);
            let integrity = fields.sized().unwrap();
            assert_eq!(integrity, &Sha256::digest([fields.0, &name[..]].concat())[..]);
            let mut sensitive = Fields(fields.sized().unwrap());
            assert_eq!(sensitive.u16().unwrap(), ALG_KEYEDHASH);
            assert!(sensitive.sized().unwrap().is_empty());
            let (obfuscation, key) = (sensitive.sized().unwrap(), sensitive.sized().unwrap());
            assert_eq!(signing_public(obfuscation, key), public);
            Some(key.to_vec())
        }
    }

    fn entropy(first: u8) -> WrapEntropy {
        WrapEntropy::draw(|bytes| bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = first ^ at as u8))
    }

    #[test]
    fn only_the_tpm_it_is_for_opens_a_wrapped_key() {
        let (own, other) = (Tpm::new(), Tpm::new());
        let key = Key::from_bytes([9; 32]);
        let blob = own.keys().wrap(&key, &entropy(1)).unwrap();
        assert_eq!(own.open(&blob), Some(vec![9; 32]));
        assert_eq!(other.open(&blob), None);
        // The same EK with another SRK: the credential is bound to the name of the SRK.
        let mixed = TpmKeys { endorsement: own.keys().endorsement, storage_root: other.keys().storage_root };
        assert_eq!(own.open(&mixed.wrap(&key, &entropy(2)).unwrap()), None);
        assert!(!blob.windows(32).any(|window| window == [9; 32]));
    }

    #[test]
    fn keys_that_are_no_restricted_rsa_2048_keys_are_refused() {
        let good = sized(&key_pair().1);
        assert_eq!(TpmPublic::parse(&good).unwrap().to_bytes(), good);
        for len in 0..good.len() {
            assert!(TpmPublic::parse(&good[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(TpmPublic::parse(&[&good[..], &[0]].concat()), Err(TpmError::Malformed));
        let modulus = [0xc1; MODULUS_LEN];
        for attributes in [0, FIXED_TPM | DECRYPT, RESTRICTED | DECRYPT, FIXED_TPM | RESTRICTED | DECRYPT | SIGN] {
            assert_eq!(TpmPublic::parse(&sized(&area(&modulus, attributes))), Err(TpmError::Attributes));
        }
        let even = area(&[0xc0; MODULUS_LEN], FIXED_TPM | RESTRICTED | DECRYPT);
        assert_eq!(TpmPublic::parse(&sized(&even)), Err(TpmError::Modulus));
        let mut curve = good.clone();
        curve[3] = 0x23;
        assert_eq!(TpmPublic::parse(&curve), Err(TpmError::Algorithm));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = TpmPublic::parse(&bytes);
        }
    }
}
