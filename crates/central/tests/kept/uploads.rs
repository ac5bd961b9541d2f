//! Where devices upload files to.

use gantry_central::file_uploads::{FileUploads, FileUploadsError, SasTtl};
use gantry_central::secrets::{ConnectionString, HIDDEN, SecretError};

use super::*;

pub(super) fn uploads(key: &str) -> FileUploads {
    let text = format!("DefaultEndpointsProtocol=https;AccountName=a;AccountKey={key}");
    FileUploads {
        account: Some("contoso-account".to_owned()),
        connection_string: ConnectionString::parse(&text).unwrap(),
        container: "container".to_owned(),
        sas_ttl: SasTtl::parse("PT2H").ok(),
        read_access: false,
    }
}

#[tokio::test]
async fn there_is_one_configuration_and_its_key_is_kept_over_a_read_and_a_write() {
    let central = filled(&Arc::new(Memory::new())).await;
    let before = central.state().file_uploads().cloned().unwrap();
    assert!(!format!("{before:?}").contains("hush"));
    let read = FileUploads { read_access: true, ..uploads(HIDDEN) };
    central.put_file_uploads(WRITE, &read, |_| Ok(())).await.unwrap();
    let after = central.state().file_uploads().cloned().unwrap();
    assert_eq!(after.value, FileUploads { read_access: true, ..before.value.clone() });
    let old = central.delete_file_uploads(&IfMatch::tag(before.etag.text())).await;
    assert!(matches!(old, Err(CentralError::Changed(_))));
    central.delete_file_uploads(&IfMatch::tag(after.etag.text())).await.unwrap();
    let again = central.delete_file_uploads(&IfMatch::Any).await;
    assert!(matches!(again, Err(CentralError::FileUploads(FileUploadsError::Unknown))));
    let nothing = central.put_file_uploads(WRITE, &uploads(HIDDEN), |_| Ok(())).await;
    assert!(matches!(nothing, Err(CentralError::FileUploads(FileUploadsError::Secret(SecretError::Nothing(_))))));
}
