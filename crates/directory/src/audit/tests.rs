use super::*;

fn key() -> Key {
    Key::from_bytes([7; 32])
}

fn entry(n: u64) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_millis(i64::try_from(n).unwrap()),
        actor: Actor { kind: ActorKind::User, id: "u1".into(), name: "jane".into() },
        from: "10.0.0.7".into(),
        operation: "PUT /devices/{id}".into(),
        target: AuditText::new(&format!("d{n}")),
        outcome: AuditOutcome::Done,
        changed: ChangedMembers::new(["status", "tags"]),
    }
}

fn log(length: u64) -> Vec<AuditRecord> {
    let mut head = Head::EMPTY;
    let next = |n| {
        let record = append(&key(), &head, entry(n));
        head = record.head();
        record
    };
    (1..=length).map(next).collect()
}

#[track_caller]
fn check(change: impl FnOnce(&mut Vec<AuditRecord>), expected: Broken) {
    let mut records = log(5);
    change(&mut records);
    assert_eq!(verify(&key(), &Head::EMPTY, &records), Err(expected));
}

#[test]
fn a_log_is_what_was_written() {
    let records = log(5);
    assert_eq!(verify(&key(), &Head::EMPTY, &records), Ok(records[4].head()));
    assert_eq!(verify(&key(), &records[1].head(), &records[2..4]), Ok(records[3].head()), "a range");
    assert_eq!(verify(&key(), &Head::EMPTY, []), Ok(Head::EMPTY));
    assert_eq!(verify(&Key::from_bytes([8; 32]), &Head::EMPTY, &records), Err(Broken::Mac(1)), "another's key");
}

#[test]
fn every_change_of_an_entry_shows() {
    let changes: [fn(&mut AuditEntry); 13] = [
        |entry| entry.at = entry.at.plus(std::time::Duration::from_millis(1)),
        |entry| entry.actor.kind = ActorKind::Key,
        |entry| entry.actor.id = "u2".into(),
        |entry| entry.actor.name = "john".into(),
        |entry| entry.from = "10.0.0.8".into(),
        |entry| entry.operation = "GET /devices/{id}".into(),
        |entry| entry.target = "d9".into(),
        |entry| entry.outcome = AuditOutcome::Refused("".into()),
        |entry| entry.outcome = AuditOutcome::Failed("".into()),
        |entry| entry.changed = ChangedMembers::new(["status"]),
        |entry| entry.changed = ChangedMembers::new(["status", "tags", ""]),
        |entry| entry.changed = ChangedMembers::new(["statust", "ags"]),
        // The same letters in other fields.
        |entry| (entry.actor.id, entry.actor.name) = ("u1j".into(), "ane".into()),
    ];
    for change in changes {
        check(|records| change(&mut records[2].entry), Broken::Mac(3));
    }
}

#[test]
fn what_is_removed_added_or_moved_shows() {
    check(|records| drop(records.remove(2)), Broken::Number { expected: 3, found: 4 });
    check(|records| records.swap(1, 2), Broken::Number { expected: 2, found: 3 });
    check(|records| records.insert(2, records[1].clone()), Broken::Number { expected: 3, found: 2 });
    let renumbered = |records: &mut Vec<AuditRecord>| {
        records.remove(2);
        (1..).zip(records.iter_mut()).for_each(|(n, record)| record.number = n);
    };
    check(renumbered, Broken::Mac(3));
    check(|records| records[4].mac = records[3].mac, Broken::Mac(5));
}

#[test]
fn a_log_that_was_cut_shows_against_an_anchor() {
    let records = log(5);
    let anchor = records[3].head();
    let to = |records: &[AuditRecord], from: &Head| verify_to(&key(), from, &anchor, records);
    assert_eq!(to(&records, &Head::EMPTY), Ok(records[4].head()));
    assert_eq!(to(&records[4..], &anchor), Ok(records[4].head()));
    assert_eq!(to(&records[..3], &Head::EMPTY), Err(Broken::Cut { last: 3, anchor: 4 }));
    assert_eq!(to(&[], &Head::EMPTY), Err(Broken::Cut { last: 0, anchor: 4 }));
    let mut anew = log(3);
    let head = anew[2].head();
    anew.push(append(&key(), &head, entry(99)));
    assert_eq!(to(&anew, &Head::EMPTY), Err(Broken::Anchor(4)), "by somebody with the key");
}

#[test]
fn texts_are_bounded_and_of_one_line() {
    let long = "é".repeat(AUDIT_TEXT_LEN_MAX);
    assert_eq!(AuditText::new(&long).as_str(), long);
    let cut = AuditText::new(&format!("{long}x"));
    assert_eq!(cut.as_str().chars().count(), AUDIT_TEXT_LEN_MAX);
    assert!(cut.as_str().ends_with('…'));
    assert_eq!(AuditText::new("a\r\nb").as_str(), "a\u{fffd}\u{fffd}b");
    assert_eq!(ChangedMembers::new(vec!["a"; AUDIT_MEMBERS_MAX]).iter().last(), Some("a"));
    let many = ChangedMembers::new(vec!["a"; AUDIT_MEMBERS_MAX + 1]);
    assert_eq!((many.iter().count(), many.iter().last()), (AUDIT_MEMBERS_MAX, Some("…")));
}

#[test]
fn records_are_read_as_they_were_written_or_refused() {
    let mut records = log(2);
    records.push(append(
        &key(),
        &records[1].head(),
        AuditEntry { outcome: AuditOutcome::Failed("full".into()), ..entry(3) },
    ));
    let json = serde_json::to_string(&records).unwrap();
    let read: Vec<AuditRecord> = serde_json::from_str(&json).unwrap();
    assert_eq!(read, records);
    assert!(verify(&key(), &Head::EMPTY, &read).is_ok());
    let long = "x".repeat(AUDIT_TEXT_LEN_MAX + 1);
    for (from, to) in
        [("jane", long.as_str()), ("jane", "\\u0000"), ("\"operation\"", "\"op\""), ("\"done\"", "\"won\"")]
    {
        assert!(serde_json::from_str::<Vec<AuditRecord>>(&json.replace(from, to)).is_err(), "{to}");
    }
}

/// The first link of a log, worked out by another program from the text above, so that a change is noticed.
#[test]
fn the_text_to_sign_is_as_it_was() {
    let record = append(&key(), &Head::EMPTY, entry(1));
    assert_eq!(format!("{:?}", record.mac), FIRST);
}

const FIRST: &str = "QlT/sY4N4f/FYlGmNq0hA2YXE+1LSu56/gCS3ge++yU=";

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "\\PC{0,300}") {
        let _ = serde_json::from_slice::<AuditRecord>(&bytes);
        let _ = serde_json::from_str::<AuditRecord>(&text);
        let kept = AuditText::new(&text);
        let json = serde_json::to_string(&kept).unwrap();
        proptest::prop_assert_eq!(serde_json::from_str::<AuditText>(&json).unwrap(), kept);
    }

    #[test]
    fn any_two_different_entries_have_different_links(
        a in "[ab]{0,3}",
        b in "[ab]{0,3}",
        c in "[ab]{0,3}",
        d in "[ab]{0,3}",
    ) {
        let of = |id: &str, name: &str| {
            let actor = Actor { kind: ActorKind::User, id: id.into(), name: name.into() };
            append(&key(), &Head::EMPTY, AuditEntry { actor, ..entry(1) }).mac
        };
        proptest::prop_assert_eq!(of(&a, &b) == of(&c, &d), (a, b) == (c, d));
    }
}
