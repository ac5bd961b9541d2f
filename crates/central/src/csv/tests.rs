//! Files that are read, files that are refused, and what is written.

use gantry_identity::{DeviceId, Key, KeyPair};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::import::{CELL_BYTES_MAX, COLUMNS_MAX, ERRORS_MAX, FILE_BYTES_MAX, NAME_CHARS_MAX, ROWS_MAX};
use super::*;

fn none(_: &str) -> bool {
    false
}

fn rows(file: &str) -> Vec<Row> {
    Import::new(file.as_bytes(), none).unwrap().map(|row| row.unwrap()).collect()
}

fn pairs(file: &str) -> Vec<(String, String)> {
    let pair = |row: Row| (row.device_id.as_str().to_owned(), row.display_name.as_str().to_owned());
    rows(file).into_iter().map(pair).collect()
}

#[track_caller]
fn reads(file: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
    assert_eq!(pairs(file), expected, "{file:?}");
}

#[track_caller]
fn refuses(file: &str, expected: &[&str]) {
    let told: Vec<String> = check(file.as_bytes(), none).unwrap_err().errors.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected, "{file:?}");
}

#[test]
fn ids_and_names_are_read() {
    reads("IOTC_DEVICEID,IOTC_DEVICENAME\nd1,Pump 1\nd2,\n", &[("d1", "Pump 1"), ("d2", "d2")]);
    reads("IOTC_DEVICEID\nd1\n", &[("d1", "d1")]);
    reads("IOTC_DeviceName,iotc_deviceid\r\nPump 1,d1\r\n", &[("d1", "Pump 1")]);
    reads("IOTC_DEVICEID,IOTC_DEVICENAME\n", &[]);
}

#[test]
fn files_are_read_as_programs_write_them() {
    let expected = [("d1", "Pump; \"1\"")];
    reads("\u{feff}IOTC_DEVICEID,IOTC_DEVICENAME\r\nd1,\"Pump; \"\"1\"\"\"", &expected);
    reads("IOTC_DEVICEID;IOTC_DEVICENAME\nd1;\"Pump; \"\"1\"\"\"\n", &expected);
    reads("IOTC_DEVICEID\tIOTC_DEVICENAME\nd1\tPump; \"1\"\n", &expected);
    reads("\"IOTC_DEVICEID\"|\"IOTC_DEVICENAME\"\nd1|\"Pump; \"\"1\"\"\"\n", &expected);
    reads("\n\nIOTC_DEVICEID, IOTC_DEVICENAME\n\n  d1 , Pümpe 泵 \n,\n ,\t\n", &[("d1", "Pümpe 泵")]);
    reads("IOTC_DEVICEID,IOTC_DEVICENAME\rd1,a\rd2,b", &[("d1", "a"), ("d2", "b")]);
}

#[test]
fn rows_are_counted_as_lines_of_the_file() {
    let file = "IOTC_DEVICEID,IOTC_DEVICENAME\n\nd1,a\nd 2,b\n";
    refuses(file, &["row 4, column `IOTC_DEVICEID`: the id of a device is 1 to 128 letters, digits and `-`"]);
    for end in ["\n", "\r\n", "\r"] {
        let file = "IOTC_DEVICEID,IOTC_DEVICENAME\n\nd1,a\n,\n\n\nd2,b\nd3,c".replace('\n', end);
        assert_eq!(rows(&file).iter().map(|row| row.row).collect::<Vec<_>>(), [3, 7, 8], "{file:?}");
    }
    let quoted = "IOTC_DEVICEID,p\nd1,\"two\nlines\"\nd2,x\n";
    let rows: Vec<u64> = Import::new(quoted.as_bytes(), |_| true).unwrap().map(|row| row.unwrap().row).collect();
    assert_eq!(rows, [2, 4]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let long = "n".repeat(NAME_CHARS_MAX + 1);
    let file = format!(
        "IOTC_DEVICEID,IOTC_DEVICENAME,IOTC_SASKEY_PRIMARY,IOTC_SASKEY_SECONDARY,IOTC_X509THUMBPRINT_PRIMARY\n\
         ,,,,\nd_1,{long},,,\nd2,a,x,,12\nd2,b\nd2,c,,MDEyMzQ1Njc4OWFiY2RlZg==,\n,nobody,,,\nd2,again,,,\n"
    );
    refuses(
        &file,
        &[
            "row 3, column `IOTC_DEVICEID`: the id of a device is 1 to 128 letters, digits and `-`",
            "row 3, column `IOTC_DEVICENAME`: the name of a device is longer than 148 characters",
            "row 4, column `IOTC_SASKEY_PRIMARY`: key is not base64",
            "row 4, column `IOTC_SASKEY_SECONDARY`: `IOTC_SASKEY_SECONDARY` is empty",
            "row 4, column `IOTC_X509THUMBPRINT_PRIMARY`: a thumbprint is 40 or 64 hexadecimal digits",
            "row 5: the row has 2 cells and the header 5",
            "row 6, column `IOTC_DEVICEID`: row 4 has the same device",
            "row 6, column `IOTC_SASKEY_PRIMARY`: `IOTC_SASKEY_PRIMARY` is empty",
            "row 7, column `IOTC_DEVICEID`: the id of a device is 1 to 128 letters, digits and `-`",
            "row 8, column `IOTC_DEVICEID`: row 4 has the same device",
        ],
    );
}

#[test]
fn a_wrong_header_is_told_as_a_whole() {
    refuses("", &["row 1: the file has no header"]);
    refuses("\u{feff}\n", &["row 1: the file has no header"]);
    refuses(
        "name,IOTC_DEVICENAME,Iotc_DeviceName\na,b,c\n",
        &[
            "row 1, column `name`: the column is not known",
            "row 1, column `IOTC_DEVICENAME`: the column is there twice",
            "row 1, column `IOTC_DEVICEID`: the column is missing",
        ],
    );
    let wide = format!("IOTC_DEVICEID{}\n", ",p".repeat(COLUMNS_MAX));
    assert_eq!(check(wide.as_bytes(), |_| true).unwrap_err().errors[0].problem, Problem::TooManyColumns);
}

#[test]
fn what_is_no_text_is_refused_where_it_is() {
    let utf16 = [0xff, 0xfe, b'I', 0];
    assert_eq!(check(&utf16, none).unwrap_err().errors[0].problem, Problem::Utf16);
    let latin = b"IOTC_DEVICEID,IOTC_DEVICENAME\nd1,P\xfcmpe\nd2,x\xff\n";
    let errors = check(latin, none).unwrap_err().errors;
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0].to_string(), "row 2, column `IOTC_DEVICENAME`: the text is not UTF-8");
    let header = b"IOTC_DEVICEID,\xff\n";
    assert_eq!(check(header, none).unwrap_err().errors[0].problem, Problem::NotUtf8);
}

#[test]
fn files_cells_and_errors_are_bounded() {
    let name = |bytes: usize| format!("IOTC_DEVICEID,p\nd1,{}\n", "x".repeat(bytes));
    assert_eq!(check(name(CELL_BYTES_MAX).as_bytes(), |_| true), Ok(1));
    let long = check(name(CELL_BYTES_MAX + 1).as_bytes(), |_| true).unwrap_err();
    assert_eq!(long.errors[0].problem, Problem::CellTooLong);
    let wrong = format!("IOTC_DEVICEID\n{}", "d_1\n".repeat(ERRORS_MAX + 7));
    let refused = check(wrong.as_bytes(), none).unwrap_err();
    assert_eq!((refused.errors.len(), refused.more), (ERRORS_MAX, 7));
    let open = "IOTC_DEVICEID,IOTC_DEVICENAME\nd1,\"never closed\nd2,x\n";
    assert_eq!(check(open.as_bytes(), none).unwrap_err().errors.len(), 1);
    let wide = format!("IOTC_DEVICEID\n{}", ",".repeat(200_000));
    assert_eq!(check(wide.as_bytes(), none).unwrap_err().errors[0].problem, Problem::TooManyColumns);
    let whole = vec![b'\n'; FILE_BYTES_MAX + 1];
    assert_eq!(check(&whole, none).unwrap_err().errors[0].problem, Problem::FileTooLong);
}

#[test]
fn as_many_devices_as_an_application_has_and_no_more() {
    let file = |devices: u64| {
        let rows = (0..devices).map(|number| format!("d{number},Device {number}\n"));
        format!("IOTC_DEVICEID,IOTC_DEVICENAME\n{}", rows.collect::<String>())
    };
    assert_eq!(check(file(ROWS_MAX).as_bytes(), none), Ok(ROWS_MAX));
    let errors = check(file(ROWS_MAX + 5).as_bytes(), none).unwrap_err().errors;
    assert_eq!(errors, [CsvError { row: ROWS_MAX + 2, column: None, problem: Problem::TooManyRows }]);
}

#[test]
fn names_and_ids_are_as_long_as_they_may_be() {
    let file =
        |id: usize, name: usize| format!("IOTC_DEVICEID,IOTC_DEVICENAME\n{},{}\n", "d".repeat(id), "ä".repeat(name));
    assert_eq!(check(file(128, NAME_CHARS_MAX).as_bytes(), none), Ok(1));
    assert!(check(file(129, 1).as_bytes(), none).is_err());
    assert!(check(file(1, NAME_CHARS_MAX + 1).as_bytes(), none).is_err());
}

fn keys() -> KeyPair {
    KeyPair { primary: Key::from_bytes([7; 32]), secondary: Key::from_bytes([8; 32]) }
}

#[test]
fn an_export_has_the_published_columns_and_then_properties() {
    let export = Export::new(vec!["room".into(), "settings.threshold".into(), "shape".into(), "gone".into()]);
    assert_eq!(
        export.header(),
        "IOTC_DEVICEID,IOTC_DEVICENAME,IOTC_SASKEY_PRIMARY,IOTC_SASKEY_SECONDARY,IOTC_X509THUMBPRINT_PRIMARY,\
         IOTC_X509THUMBPRINT_SECONDARY,room,settings.threshold,shape,gone\r\n"
    );
    let properties = json!({ "room": "=A1", "settings": { "threshold": -2.5 }, "shape": { "a": 1 } });
    let device = Exported {
        device_id: "d1",
        display_name: "Pump, \"big\"",
        keys: Some(&keys()),
        thumbprints: None,
        properties: properties.as_object().unwrap(),
    };
    let key = |pair: KeyPair| (pair.primary.to_base64(), pair.secondary.to_base64());
    let (primary, secondary) = key(keys());
    let rest = r#",,,'=A1,-2.5,"{""a"":1}","#;
    let rest = rest.replacen(',', "", 1);
    assert_eq!(export.row(&device), format!("d1,\"Pump, \"\"big\"\"\",{primary},{secondary},{rest}\r\n"));
    assert!(export.with_semicolons().row(&device).starts_with("d1;\"Pump, "));
}

#[test]
fn keys_are_never_shown() {
    let file = "IOTC_DEVICEID,IOTC_SASKEY_PRIMARY,IOTC_SASKEY_SECONDARY\nd1,secret secret,short\n";
    let told = format!("{:?}", check(file.as_bytes(), none).unwrap_err());
    assert!(!told.contains("secret") && !told.contains("short"), "{told}");
}

#[test]
fn a_device_has_one_proof() {
    let header = COLUMNS.join(",");
    let (key, thumbprint) = (keys().primary.to_base64(), "ab".repeat(20));
    refuses(
        &format!("{header}\nd1,a,{key},{key},{thumbprint},\n"),
        &["row 2: a device has keys or thumbprints, not both"],
    );
    refuses(
        &format!("{header}\nd1,a,,,,{thumbprint}\n"),
        &["row 2, column `IOTC_X509THUMBPRINT_PRIMARY`: `IOTC_X509THUMBPRINT_PRIMARY` is empty"],
    );
    let row = &rows(&format!("{header}\nd1,a,,,{thumbprint},\n"))[0];
    assert_eq!(row.thumbprints.as_ref().unwrap().primary, "AB".repeat(20));
}

#[test]
fn nothing_is_made_of_spaces_and_guards() {
    let file = "IOTC_DEVICEID,IOTC_DEVICENAME\nd1,\"'\t\"\nd2,  '=x \n";
    reads(file, &[("d1", "d1"), ("d2", "=x")]);
}

/// Reads what an export has written.
fn again(export: &Export, device: &Exported<'_>) -> Row {
    let file = format!("{}{}", export.header(), export.row(device));
    let mut import = Import::new(file.as_bytes(), |name| name == "note").unwrap();
    let row = import.next().unwrap().unwrap();
    assert!(import.next().is_none());
    row
}

proptest! {
    #[test]
    fn what_is_exported_is_imported(
        id in "[A-Za-z0-9-]{1,20}",
        name in "['=+@;,|\"-]{0,3}\\PC{1,20}",
        note in "(?s)['=+@;,|\"-]{0,3}.{0,20}",
        has_keys: bool,
    ) {
        let name = name.trim();
        let Ok(display_name) = crate::ids::DisplayName::parse(name) else { return Ok(()) };
        let properties = Map::from_iter([("note".to_owned(), Value::String(note.clone()))]);
        let pair = keys();
        let thumbprints = Thumbprints { primary: "0F".repeat(32), secondary: Some("A1".repeat(20)) };
        let device = Exported {
            device_id: &id,
            display_name: name,
            keys: has_keys.then_some(&pair),
            thumbprints: (!has_keys).then_some(&thumbprints),
            properties: &properties,
        };
        let export = Export::new(vec!["note".to_owned()]);
        for export in [export.clone(), export.with_semicolons()] {
            let row = again(&export, &device);
            prop_assert_eq!(&row.device_id, &DeviceId::parse(&id).unwrap());
            prop_assert_eq!(&row.display_name, &display_name);
            prop_assert_eq!(row.keys.as_ref(), device.keys);
            prop_assert_eq!(row.thumbprints.as_ref(), device.thumbprints);
            let read = row.properties.first().map(|(_, text)| text.as_str()).unwrap_or_default();
            prop_assert_eq!(read.trim(), note.trim());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(file: Vec<u8>) {
        let mut with_header = b"IOTC_DEVICEID,IOTC_DEVICENAME\n".to_vec();
        with_header.extend(&file);
        let _ = check(&file, |_| true);
        let _ = check(&with_header, none);
    }
}
