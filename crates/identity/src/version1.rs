//! Leaves of X.509 version 1, which `openssl x509 -req` makes when it is given no extensions, and many device makers with
//! it. The reference service takes them under a verified authority; `webpki` does not read them.
//!
//! A certificate of version 1 says who, whose key and until when, and nothing of what it may be used for: it is taken
//! for an end and never for an issuer. What stands above it is checked as `webpki` checks it (names byte by byte,
//! signatures by the same algorithms, times, basic constraints with their path length, extended key usage), and more
//! strictly where `webpki` has rules that need extensions of the leaf: key usage must allow signing, and name
//! constraints and critical extensions beyond these end a path.

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::{ALL_VERIFICATION_ALGS, RawPublicKeyEntity};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::x509::X509Version;

use crate::Timestamp;
use crate::certificate::{Authority, CertificateError, parse};

/// Signatures looked at for one leaf: more than any chain needs that means well.
const SIGNATURES_MAX: usize = 40;

/// Whether a certificate is of version 1.
pub(crate) fn is_version_1(certificate: &X509Certificate<'_>) -> bool {
    certificate.version() == X509Version::V1
}

/// Which of `authorities` a leaf leads to over `presented`: the nearest one up the chain, as an index.
pub(crate) fn find_authority(
    leaf: &X509Certificate<'_>,
    presented: &[CertificateDer<'_>],
    authorities: &[&Authority],
    now: Timestamp,
) -> Result<usize, CertificateError> {
    if !leaf.extensions().is_empty() {
        return Err(untrusted("a certificate of version 1 has no extensions"));
    }
    let presented: Vec<_> = presented.iter().filter_map(|der| parse(der).ok()).collect();
    Search { presented, authorities, now, signatures_left: SIGNATURES_MAX }.issuer_of(leaf, 0)
}

struct Search<'a> {
    presented: Vec<X509Certificate<'a>>,
    authorities: &'a [&'a Authority],
    now: Timestamp,
    signatures_left: usize,
}

impl Search<'_> {
    /// The authority above a certificate that has `below` issuers beneath it.
    fn issuer_of(&mut self, certificate: &X509Certificate<'_>, below: usize) -> Result<usize, CertificateError> {
        let (validity, seconds) = (certificate.validity(), self.now.as_secs());
        if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds) {
            return Err(untrusted("a certificate of the chain is not valid at this time"));
        }
        for (place, authority) in self.authorities.iter().enumerate() {
            let Ok(own) = parse(authority.certificate()) else { continue };
            let is_above = authority.is_valid(self.now) && matches!(own.name_constraints(), Ok(None));
            if is_above && self.is_issued(certificate, &own) {
                return Ok(place);
            }
        }
        // Every step up is another certificate, so a path ends where they do.
        if below < self.presented.len() {
            for candidate in self.presented.clone() {
                if may_issue(&candidate, below)
                    && self.is_issued(certificate, &candidate)
                    && let Ok(place) = self.issuer_of(&candidate, below + 1)
                {
                    return Ok(place);
                }
            }
        }
        Err(untrusted("no issuer is known that could have signed it"))
    }

    /// Whether `issuer` has the name and the key that `certificate` was issued with.
    fn is_issued(&mut self, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
        let tbs = &certificate.tbs_certificate;
        if issuer.subject().as_raw() != certificate.issuer().as_raw()
            || tbs.signature != certificate.signature_algorithm
            || self.signatures_left == 0
        {
            return false;
        }
        self.signatures_left -= 1;
        let key = SubjectPublicKeyInfoDer::from(issuer.public_key().raw);
        let Ok(key) = RawPublicKeyEntity::try_from(&key) else { return false };
        // One identifier may stand for several curves of the issuer's key.
        let declared = certificate.signature_algorithm.algorithm.as_bytes();
        let is_declared = |one: &&&dyn SignatureVerificationAlgorithm| matches!(one.signature_alg_id().as_ref(), [6, _, rest @ ..] if rest.starts_with(declared));
        let signature = &certificate.signature_value.data;
        let mut declared = ALL_VERIFICATION_ALGS.iter().filter(is_declared);
        declared.any(|one| key.verify_signature(*one, tbs.as_ref(), signature).is_ok())
    }
}

/// Whether a certificate that was presented may sign others, with `below` issuers beneath it.
fn may_issue(certificate: &X509Certificate<'_>, below: usize) -> bool {
    let is_authority = match certificate.basic_constraints() {
        Ok(Some(constraints)) => {
            constraints.value.ca && constraints.value.path_len_constraint.is_none_or(|max| below <= max as usize)
        }
        _ => false,
    };
    let signs = match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    let for_clients = match certificate.extended_key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.client_auth),
        Err(_) => false,
    };
    let is_understood = certificate.extensions().iter().all(|extension| match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::SubjectAlternativeName(_) => true,
        ParsedExtension::NameConstraints(_) => false,
        _ => !extension.critical,
    });
    certificate.version() == X509Version::V3 && is_authority && signs && for_clients && is_understood
}

fn untrusted(words: &str) -> CertificateError {
    CertificateError::Untrusted(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CertificateChain;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
        Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _, SigningKey as _,
    };

    /// A certificate that can sign.
    struct Made {
        der: CertificateDer<'static>,
        key: KeyPair,
        params: CertificateParams,
    }

    fn day(n: i64) -> Timestamp {
        Timestamp::from_millis(n * 86_400_000)
    }

    /// An authority of version 3, valid from day 0 to 100.
    fn authority(name: &str, signer: Option<&Made>, change: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = time::OffsetDateTime::UNIX_EPOCH;
        params.not_after = params.not_before + time::Duration::days(100);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = match signer {
            Some(signer) => params.signed_by(&key, &Issuer::new(signer.params.clone(), &signer.key)),
            None => params.self_signed(&key),
        };
        Made { der: der.unwrap().der().clone(), key, params }
    }

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            len @ 0..=0x7f => out.push(u8::try_from(len).unwrap()),
            len => {
                out.push(0x82);
                out.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    /// A certificate of version 1: no version field, no extensions. `days` are within the first month of 1970.
    fn version_1(name: &str, signer: Option<&Made>, days: std::ops::Range<u8>) -> Made {
        let key = KeyPair::generate().unwrap();
        // ecdsa-with-SHA256
        let algorithm = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let common_name = [tlv(6, &[0x55, 4, 3]), tlv(0x0c, name.as_bytes())].concat();
        let subject = tlv(0x30, &tlv(0x31, &tlv(0x30, &common_name)));
        let issuer = match signer {
            Some(signer) => parse(&signer.der).unwrap().subject().as_raw().to_vec(),
            None => subject.clone(),
        };
        let at = |day: u8| tlv(0x17, format!("7001{:02}000000Z", day + 1).as_bytes());
        let validity = tlv(0x30, &[at(days.start), at(days.end)].concat());
        let spki = key.subject_public_key_info();
        let tbs = tlv(0x30, &[tlv(2, &[7]), algorithm.clone(), issuer, validity, subject, spki].concat());
        let signature = signer.map_or(&key, |signer| &signer.key).sign(&tbs).unwrap();
        let signature = tlv(3, &[vec![0], signature].concat());
        let der = CertificateDer::from(tlv(0x30, &[tbs, algorithm, signature].concat()));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        Made { der, key, params }
    }

    /// What a chain, leaf first, is found to lead to on a day.
    fn found(chain: &[&Made], authorities: &[&Made], at: Timestamp) -> Result<usize, CertificateError> {
        let ders: Vec<_> = chain.iter().map(|made| made.der.clone()).collect();
        let authorities: Vec<_> = authorities.iter().map(|made| Authority::parse(&made.der).unwrap()).collect();
        CertificateChain::new(&ders).unwrap().find_authority(&authorities.iter().collect::<Vec<_>>(), at)
    }

    #[test]
    fn a_leaf_of_version_1_leads_to_its_authority() {
        let (root, old_root) = (authority("root", None, |_| {}), version_1("old", None, 0..30));
        let middle = authority("middle", Some(&root), |_| {});
        for (signer, above) in [(&root, vec![]), (&old_root, vec![]), (&middle, vec![&middle])] {
            let leaf = version_1("d1", Some(signer), 2..9);
            let chain: Vec<_> = std::iter::once(&leaf).chain(above).collect();
            let all = [&old_root, &root];
            let expected = usize::from(signer.der != old_root.der);
            assert_eq!(found(&chain, &all, day(5)), Ok(expected));
            assert!(found(&chain, &[], day(5)).is_err());
            for wrong in [1, 10] {
                assert!(found(&chain, &all, day(wrong)).is_err(), "day {wrong}");
            }
        }
        let leaf = version_1("d1", Some(&middle), 2..9);
        assert_eq!(found(&[&leaf, &middle], &[&root, &middle], day(5)), Ok(1), "the nearest");
        assert_eq!(found(&[&leaf], &[&root, &middle], day(5)), Ok(1));
        assert!(found(&[&leaf], &[&root], day(5)).is_err(), "a link is missing");
    }

    #[test]
    fn who_only_has_the_name_of_the_authority_has_signed_nothing() {
        let (root, impostor) = (authority("root", None, |_| {}), authority("root", None, |_| {}));
        let leaf = version_1("d1", Some(&impostor), 2..9);
        assert!(found(&[&leaf], &[&root], day(5)).is_err());
        assert!(found(&[&leaf, &impostor], &[&root], day(5)).is_err());
        let other_name = authority("other", None, |_| {});
        assert!(found(&[&version_1("d1", Some(&root), 2..9)], &[&other_name], day(5)).is_err());
        let mut broken = version_1("d1", Some(&root), 2..9);
        let mut bytes = broken.der.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        broken.der = CertificateDer::from(bytes);
        assert!(found(&[&broken], &[&root], day(5)).is_err());
    }

    #[test]
    fn a_signature_is_of_the_algorithm_it_says() {
        let root = authority("root", None, |_| {});
        let leaf = version_1("d1", Some(&root), 2..9);
        // ecdsa-with-SHA384 in both places, over a signature with SHA-256: the signer signs what says so.
        let (sha256, sha384) = ([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]);
        let told = |der: &[u8]| {
            let places = der.windows(8).enumerate().filter(|(_, window)| *window == sha256).map(|(place, _)| place);
            let mut der = der.to_vec();
            for place in places.collect::<Vec<_>>() {
                der[place..place + 8].copy_from_slice(&sha384);
            }
            der
        };
        let parsed = parse(&leaf.der).unwrap();
        let tbs = told(parsed.tbs_certificate.as_ref());
        let signature = tlv(3, &[vec![0], root.key.sign(&tbs).unwrap()].concat());
        let algorithm = tlv(0x30, &tlv(6, &sha384));
        let lying =
            Made { der: tlv(0x30, &[tbs, algorithm, signature].concat()).into(), ..version_1("d1", None, 2..9) };
        assert!(found(&[&lying], &[&root], day(5)).is_err());
        assert_eq!(found(&[&leaf], &[&root], day(5)), Ok(0));
    }

    #[test]
    fn a_certificate_of_version_1_is_no_issuer_unless_it_is_the_authority() {
        let root = authority("root", None, |_| {});
        let middle = version_1("middle", Some(&root), 0..30);
        let (old, new) =
            (version_1("d1", Some(&middle), 2..9), authority("d1", Some(&middle), |p| p.is_ca = IsCa::NoCa));
        for leaf in [&old, &new] {
            assert!(found(&[leaf, &middle], &[&root], day(5)).is_err());
        }
        assert_eq!(Authority::parse(&middle.der), Err(CertificateError::NotAnAuthority));
    }

    #[test]
    fn what_stands_above_must_be_allowed_to_sign_for_clients() {
        let root = authority("root", None, |_| {});
        let refuse = |what: &str, change: &dyn Fn(&mut CertificateParams)| {
            let middle = authority("middle", Some(&root), change);
            let leaf = version_1("d1", Some(&middle), 2..9);
            assert!(found(&[&leaf, &middle], &[&root], day(5)).is_err(), "{what}");
        };
        refuse("no basic constraints", &|p| p.is_ca = IsCa::NoCa);
        refuse("CA:FALSE", &|p| p.is_ca = IsCa::ExplicitNoCa);
        refuse("no signing of certificates", &|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
        refuse("for servers only", &|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        refuse("expired", &|p| p.not_after = p.not_before + time::Duration::days(4));
        refuse("name constraints", &|p| {
            let permitted_subtrees = vec![GeneralSubtree::DnsName("example".into())];
            p.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
        });
        refuse("a critical extension nobody knows", &|p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions = vec![extension];
        });
        let allowed = authority("middle", Some(&root), |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let leaf = version_1("d1", Some(&allowed), 2..9);
        assert_eq!(found(&[&leaf, &allowed], &[&root], day(5)), Ok(0));
    }

    #[test]
    fn a_path_is_no_longer_than_its_authorities_allow() {
        let root = authority("root", None, |_| {});
        for (max, is_good) in [(0, false), (1, true)] {
            let upper = authority("upper", Some(&root), |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(max)));
            let lower = authority("lower", Some(&upper), |_| {});
            let leaf = version_1("d1", Some(&lower), 2..9);
            assert_eq!(found(&[&leaf, &lower, &upper], &[&root], day(5)).is_ok(), is_good, "path length {max}");
        }
    }

    #[test]
    fn many_issuers_of_one_name_are_not_followed_for_ever() {
        let root = authority("root", None, |_| {});
        let own = authority("loop", None, |_| {});
        // All have one name and one key, so each could have signed each.
        let copies: Vec<_> = (0..9).map(|_| &own).collect();
        let leaf = version_1("d1", Some(&own), 2..9);
        let chain: Vec<_> = std::iter::once(&leaf).chain(copies).collect();
        assert!(found(&chain, &[&root], day(5)).is_err());
    }
}
