//! X.509: what a device presents in its TLS handshake, and the authorities a hub trusts.
//!
//! A TLS handshake proves that the peer holds the leaf's key. Whether the leaf is good for an
//! identity is decided here, by thumbprint or by a chain to a verified authority (device
//! authentication reference, section 3.2). Chains are checked by `webpki`: signatures,
//! validity, basic constraints, extended key usage; leaves of version 1 by [`version1`]. Revocation lists are not consulted, as in
//! the reference service.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::{Timestamp, version1};

/// Certificates of a chain that are looked at; a longer chain is cut, and fails unless what is left suffices.
const CHAIN_LEN_MAX: usize = 10;
/// Largest certificate of an authority in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Why a certificate is not good for what it was presented for.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// Not a certificate.
    #[error("not an X.509 certificate in DER, PEM or base64")]
    Malformed,
    /// An authority must be allowed to sign certificates.
    #[error("not a certificate authority: basic constraints do not say CA")]
    NotAnAuthority,
    /// The time is outside of the validity.
    #[error("certificate is not valid at this time")]
    Validity,
    /// The leaf has another name.
    #[error("certificate is for `{presented}`, not for `{needed}`")]
    CommonName {
        /// Common name of the leaf.
        presented: String,
        /// Name it must have.
        needed: String,
    },
    /// The hash is of neither registered thumbprint.
    #[error("thumbprint is not registered")]
    Thumbprint,
    /// No path to a verified authority.
    #[error("certificate does not lead to a verified authority: {0}")]
    Untrusted(String),
}

/// The certificates a peer presented, leaf first. It holds the leaf's key.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateChain(Arc<[CertificateDer<'static>]>);

impl CertificateChain {
    /// From what TLS hands out; `None` when the peer presented nothing.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Option<Self> {
        let kept = &certificates[..certificates.len().min(CHAIN_LEN_MAX)];
        let owned: Vec<_> = kept.iter().map(|der| der.clone().into_owned()).collect();
        (!owned.is_empty()).then(|| Self(owned.into()))
    }

    /// What the leaf says it is called: common name, then DNS names and URIs of the subject alternative name.
    pub fn names(&self) -> Vec<String> {
        let Ok(leaf) = parse(self.leaf()) else { return vec![] };
        let mut names: Vec<String> = common_name(&leaf).into_iter().collect();
        if let Ok(Some(others)) = leaf.subject_alternative_name() {
            names.extend(others.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
                _ => None,
            }));
        }
        names
    }

    /// The leaf, DER.
    pub fn leaf_der(&self) -> &[u8] {
        self.leaf()
    }

    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        &self.0[0]
    }

    /// Whether the leaf's SHA-1 or SHA-256 is one of `thumbprints` (hex, any case, colons ignored) and it has not
    /// expired.
    ///
    /// # Errors
    /// [`CertificateError::Thumbprint`], or that it is not valid now.
    pub fn check_thumbprint<'a>(
        &self,
        thumbprints: impl IntoIterator<Item = &'a str>,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let (sha1, sha256) = (sha1_hex(self.leaf()), sha256_hex(self.leaf()));
        let is_registered = thumbprints.into_iter().any(|registered| {
            let registered = normal_thumbprint(registered);
            let same = |own: &str| bool::from(own.as_bytes().ct_eq(registered.as_bytes()));
            same(&sha1) | same(&sha256)
        });
        if !is_registered {
            return Err(CertificateError::Thumbprint);
        }
        // Only the end counts for thumbprints: clocks of devices and factories differ.
        let leaf = parse(self.leaf())?;
        let ends = Timestamp::from_millis(leaf.validity().not_after.timestamp().saturating_mul(1000));
        if ends < now { Err(CertificateError::Validity) } else { Ok(()) }
    }

    /// Checks that the leaf's common name is `name` and that it leads to one of `authorities`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_chain<'a>(
        &self,
        name: &str,
        authorities: impl IntoIterator<Item = &'a Authority>,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let presented = self.common_name()?;
        if presented.as_deref() != Some(name) {
            let presented = presented.unwrap_or_default();
            return Err(CertificateError::CommonName { presented, needed: name.to_owned() });
        }
        let authorities: Vec<_> = authorities.into_iter().collect();
        self.find_authority(&authorities, now).map(|_| ())
    }

    /// Common name of the leaf; `None` without one.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn common_name(&self) -> Result<Option<String>, CertificateError> {
        Ok(common_name(&parse(self.leaf())?))
    }

    /// Which of `authorities` the leaf leads to: the nearest one up the chain, as an index.
    ///
    /// # Errors
    /// [`CertificateError::Untrusted`].
    pub fn find_authority(&self, authorities: &[&Authority], now: Timestamp) -> Result<usize, CertificateError> {
        let parsed = parse(self.leaf())?;
        if version1::is_version_1(&parsed) {
            return version1::find_authority(&parsed, &self.0[1..], authorities, now);
        }
        // `webpki` takes anchors on trust, so their dates are checked here.
        let (places, anchors): (Vec<usize>, Vec<TrustAnchor<'_>>) = (authorities.iter().enumerate())
            .filter(|(_, authority)| authority.is_valid(now))
            .filter_map(|(place, authority)| Some((place, anchor_from_trusted_cert(&authority.der).ok()?)))
            .unzip();
        let untrusted = |error: webpki::Error| CertificateError::Untrusted(format!("{error:?}"));
        let leaf = EndEntityCert::try_from(self.leaf()).map_err(untrusted)?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0)));
        let usage = KeyUsage::client_auth();
        // At each step up, `webpki` tries the anchors before the certificates that were presented.
        let path = leaf
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &self.0[1..], at, usage, None, None)
            .map_err(untrusted)?;
        let found = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
        Ok(places[found.expect("a path ends at one of the anchors it was given")])
    }
}

impl std::fmt::Debug for CertificateChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateChain({})", sha1_hex(self.leaf()))
    }
}

/// A certificate authority, root or intermediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    der: CertificateDer<'static>,
    subject: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Authority {
    /// Reads a certificate: PEM, the base64 of PEM or of DER (as management APIs carry it), or DER.
    ///
    /// # Errors
    /// When it is no certificate or may not sign others.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let der = read_der(bytes)?;
        let parsed = parse(&der)?;
        // Version 1 roots have no extensions; a root that signed itself is one whatever it says.
        let may_sign = match parsed.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            Ok(None) => parsed.subject() == parsed.issuer(),
            Err(_) => false,
        };
        if !may_sign {
            return Err(CertificateError::NotAnAuthority);
        }
        let at = |time: x509_parser::time::ASN1Time| Timestamp::from_millis(time.timestamp().saturating_mul(1000));
        let (subject, validity) = (parsed.subject().to_string(), parsed.validity().clone());
        Ok(Self { der, subject, not_before: at(validity.not_before), not_after: at(validity.not_after) })
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Subject as text (`CN=Plant root`).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SHA-1 of the certificate, hex in capitals, as management APIs show it.
    pub fn thumbprint(&self) -> String {
        sha1_hex(&self.der)
    }

    /// When it expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Checks a proof of possession: a certificate that this authority signed, with `code` as common name.
    ///
    /// Version 1 certificates are taken, because `openssl x509 -req` makes them.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_possession(&self, proof: &[u8], code: &str, now: Timestamp) -> Result<(), CertificateError> {
        let (der, own) = (read_der(proof)?, parse(&self.der)?);
        let proof = parse(&der)?;
        let presented = common_name(&proof);
        if !bool::from(presented.as_deref().unwrap_or_default().as_bytes().ct_eq(code.as_bytes())) {
            let presented = presented.unwrap_or_default();
            return Err(CertificateError::CommonName { presented, needed: code.to_owned() });
        }
        proof
            .verify_signature(Some(own.public_key()))
            .map_err(|_| CertificateError::Untrusted("the proof is not signed with this authority's key".into()))?;
        let seconds = now.as_secs();
        let validity = proof.validity();
        // A proof made a moment ago on another machine may be from the near future.
        if seconds + 300 < validity.not_before.timestamp() || validity.not_after.timestamp() < seconds {
            return Err(CertificateError::Validity);
        }
        Ok(())
    }
}

/// A thumbprint as it is compared: hex in capitals, without colons and blanks.
pub fn normal_thumbprint(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ':' | ' ')).map(|c| c.to_ascii_uppercase()).collect()
}

/// Whether a text is a SHA-1 or SHA-256 thumbprint: 40 or 64 hex digits.
pub fn is_thumbprint(text: &str) -> bool {
    let normal = normal_thumbprint(text);
    matches!(normal.len(), 40 | 64) && normal.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

pub(crate) fn read_der(bytes: &[u8]) -> Result<CertificateDer<'static>, CertificateError> {
    const MARK: &[u8] = b"-----BEGIN CERTIFICATE-----";
    if bytes.len() > 4 * CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Malformed);
    }
    let decoded = match std::str::from_utf8(bytes).map(str::trim) {
        Ok(text) if !text.as_bytes().starts_with(b"-----") => {
            let packed: String = text.split_whitespace().collect();
            STANDARD.decode(packed).map_err(|_| CertificateError::Malformed)?
        }
        Ok(text) => text.as_bytes().to_vec(),
        Err(_) => bytes.to_vec(),
    };
    let der = if decoded.windows(MARK.len()).any(|window| window == MARK) {
        use rustls_pki_types::pem::PemObject as _;
        CertificateDer::from_pem_slice(&decoded).map_err(|_| CertificateError::Malformed)?
    } else {
        CertificateDer::from(decoded)
    };
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(CertificateError::Malformed);
    }
    parse(&der)?;
    Ok(der)
}

pub(crate) fn sha1_hex(der: &[u8]) -> String {
    hex(&sha1::Sha1::digest(der))
}

pub(crate) fn sha256_hex(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    /// A certificate with its key; signed by itself without an issuer.
    struct Made {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn make(name: &str, is_ca: bool, signer: Option<&Made>, days: std::ops::Range<i64>) -> Made {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let day = |n: i64| time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(n);
        (params.not_before, params.not_after) = (day(days.start), day(days.end));
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = match signer {
            Some(signer) => params.signed_by(&key, &signer.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Made { der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn day(n: i64) -> Timestamp {
        Timestamp::from_millis(n * 86_400_000)
    }

    fn chain(certificates: &[&Made]) -> CertificateChain {
        let ders: Vec<_> = certificates.iter().map(|made| made.der.clone()).collect();
        CertificateChain::new(&ders).unwrap()
    }

    #[test]
    fn a_thumbprint_is_either_hash_in_any_spelling() {
        let leaf = make("d", false, None, 0..100);
        let presented = chain(&[&leaf]);
        let sha1 = sha1_hex(&leaf.der);
        let pairs: Vec<_> = sha1.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
        let colons = pairs.join(":").to_lowercase();
        for text in [&sha1, &colons, &sha256_hex(&leaf.der)] {
            assert!(is_thumbprint(text));
            assert_eq!(presented.check_thumbprint(["00", text.as_str()], day(50)), Ok(()), "{text}");
        }
        assert_eq!(presented.check_thumbprint([sha1.as_str()], day(101)), Err(CertificateError::Validity));
        for wrong in ["", &sha1[..39], &sha256_hex(b"other")] {
            assert_eq!(presented.check_thumbprint([wrong], day(50)), Err(CertificateError::Thumbprint), "{wrong}");
        }
    }

    #[test]
    fn a_chain_leads_to_a_root_or_a_registered_intermediate() {
        let root = make("root", true, None, 0..100);
        let middle = make("middle", true, Some(&root), 0..100);
        let leaf = make("d1", false, Some(&middle), 10..50);
        let authority = |made: &Made| Authority::parse(&made.der).unwrap();
        let (by_root, by_middle) = ([authority(&root)], [authority(&middle)]);
        let whole = chain(&[&leaf, &middle]);
        assert_eq!(whole.check_chain("d1", &by_root, day(20)), Ok(()));
        assert_eq!(chain(&[&leaf]).check_chain("d1", &by_middle, day(20)), Ok(()));
        let untrusted = |result| assert!(matches!(result, Err(CertificateError::Untrusted(_))), "{result:?}");
        untrusted(chain(&[&leaf]).check_chain("d1", &by_root, day(20)));
        untrusted(whole.check_chain("d1", &by_root, day(60)));
        untrusted(whole.check_chain("d1", &by_root, day(5)));
        untrusted(whole.check_chain("d1", [], day(20)));
        let stranger = make("root", true, None, 0..100);
        untrusted(whole.check_chain("d1", &[authority(&stranger)], day(20)));
        let named = whole.check_chain("D1", &by_root, day(20));
        assert!(matches!(named, Err(CertificateError::CommonName { .. })), "{named:?}");
    }

    #[test]
    fn the_nearest_authority_up_the_chain_is_found() {
        let root = make("root", true, None, 0..100);
        let middle = make("middle", true, Some(&root), 0..100);
        let low = make("low", true, Some(&middle), 0..100);
        let leaf = make("d1", false, Some(&low), 0..100);
        let [root, middle_ca, low_ca] = [&root, &middle, &low].map(|made| Authority::parse(&made.der).unwrap());
        let whole = chain(&[&leaf, &low, &middle]);
        let find = |authorities: &[&Authority]| whole.find_authority(authorities, day(5));
        assert_eq!(find(&[&root, &middle_ca, &low_ca]), Ok(2));
        assert_eq!(find(&[&middle_ca, &root]), Ok(0));
        assert_eq!(find(&[&root]), Ok(0));
        assert!(find(&[]).is_err());
        assert_eq!(chain(&[&leaf]).find_authority(&[&root, &low_ca], day(5)), Ok(1));
    }

    #[test]
    fn an_enrolled_leaf_is_taken_byte_by_byte_within_its_validity() {
        let (leaf, other) = (make("d1", false, None, 10..20), make("d1", false, None, 10..20));
        let registered = crate::Certificate::parse(&leaf.der).unwrap();
        let info = registered.info();
        assert_eq!((info.subject.as_str(), info.issuer.as_str(), info.version), ("CN=d1", "CN=d1", 3));
        assert_eq!((info.not_before, info.not_after), (day(10), day(20)));
        assert_eq!(chain(&[&leaf]).check_leaf([&registered], day(15)), Ok(()));
        assert_eq!(chain(&[&other]).check_leaf([&registered], day(15)), Err(CertificateError::Thumbprint));
        for wrong in [5, 25] {
            assert_eq!(chain(&[&leaf]).check_leaf([&registered], day(wrong)), Err(CertificateError::Validity));
        }
        assert!(crate::Certificate::parse(b"nothing").is_err());
    }

    #[test]
    fn an_expired_authority_and_a_leaf_that_signs_are_refused() {
        let root = make("root", true, None, 0..15);
        let leaf = make("d1", false, Some(&root), 10..50);
        let below = make("d2", false, Some(&leaf), 10..50);
        let authority = Authority::parse(&root.der).unwrap();
        assert_eq!(chain(&[&leaf]).check_chain("d1", [&authority], day(12)), Ok(()));
        assert!(chain(&[&leaf]).check_chain("d1", [&authority], day(20)).is_err());
        assert!(chain(&[&below, &leaf]).check_chain("d2", [&authority], day(12)).is_err());
        assert_eq!(Authority::parse(&leaf.der), Err(CertificateError::NotAnAuthority));
    }

    #[test]
    fn possession_is_a_signed_code() {
        let (root, other) = (make("root", true, None, 0..100), make("root", true, None, 0..100));
        let authority = Authority::parse(&root.der).unwrap();
        let proof = make("CODE", false, Some(&root), 0..30);
        assert_eq!(authority.check_possession(&proof.der, "CODE", day(1)), Ok(()));
        assert!(authority.check_possession(&proof.der, "EDOC", day(1)).is_err());
        assert_eq!(authority.check_possession(&proof.der, "CODE", day(31)), Err(CertificateError::Validity));
        let forged = make("CODE", false, Some(&other), 0..30);
        assert!(authority.check_possession(&forged.der, "CODE", day(1)).is_err());
    }

    #[test]
    fn authorities_are_read_in_every_spelling_and_rubbish_is_not() {
        let root = make("root", true, None, 0..100);
        let base64 = STANDARD.encode(&root.der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let expected = Authority::parse(&root.der).unwrap();
        assert_eq!((expected.subject(), expected.thumbprint()), ("CN=root", sha1_hex(&root.der)));
        for text in [pem.clone(), base64, STANDARD.encode(&pem), format!("  {pem}  ")] {
            assert_eq!(Authority::parse(text.as_bytes()).as_ref(), Ok(&expected), "{text}");
        }
        for wrong in [&b""[..], b"x", b"-----BEGIN CERTIFICATE-----", &[0x30; 100], &root.der[..50]] {
            assert_eq!(Authority::parse(wrong), Err(CertificateError::Malformed));
        }
        assert_eq!(Authority::parse(&vec![b'A'; 1 << 20]), Err(CertificateError::Malformed));
    }
}
