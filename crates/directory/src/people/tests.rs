use futures::FutureExt as _;
use gantry_storage_suite::Memory;

use super::*;
use crate::{Argon2Parameters, Passwords};

const NOW: Timestamp = Timestamp::from_millis(1_000);

/// Memory answers at once.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().unwrap()
}

fn people() -> (Arc<Memory>, People) {
    let memory = Arc::new(Memory::default());
    let people = load(&memory);
    (memory, people)
}

fn load(memory: &Arc<Memory>) -> People {
    block_on(People::load(Arc::clone(memory) as Arc<dyn Documents>, NOW)).unwrap()
}

fn id(text: &str) -> PersonId {
    PersonId::parse(text).unwrap()
}

fn write(role: PlatformRole) -> PersonWrite {
    PersonWrite { display_name: String::new(), email: None, role, disabled: false, must_change: false }
}

fn put(people: &People, name: &str, write: &PersonWrite) -> Result<Arc<Person>, PeopleError> {
    block_on(people.put(NOW, &id(name), write, None))
}

fn foreign(subject: &str) -> ForeignUser {
    let (issuer, subject) = ("https://id.example".to_owned(), subject.to_owned());
    ForeignUser { issuer, subject, name: "admin".into(), email: Some("j@works.example".into()), roles: vec![] }
}

fn credentials() -> Credentials {
    let passwords = Passwords::new(Argon2Parameters { memory_kib: 64, iterations: 1, parallelism: 1 }, [0; 16]);
    Credentials::chosen(passwords.unwrap().hash("tallow brink", [1; 16]), NOW)
}

#[test]
fn a_platform_begins_with_its_administrator() {
    let (memory, people) = people();
    let admin = people.find(&PersonId::administrator()).unwrap();
    assert_eq!((admin.role, people.all().len()), (PlatformRole::Administrator, 1));
    assert!(admin.credentials.is_none());
    put(&people, "Jane", &write(PlatformRole::Administrator)).unwrap();
    block_on(people.delete(&PersonId::administrator())).unwrap();
    let again = load(&memory);
    assert_eq!(again.all().keys().map(PersonId::as_str).collect::<Vec<_>>(), ["jane"], "and not again");
}

#[test]
fn names_are_read_without_case_and_no_others() {
    assert_eq!(id("Jane.Doe@Works.example").as_str(), "jane.doe@works.example");
    assert!(PersonId::parse(&"a".repeat(ID_LEN_MAX)).is_ok());
    for wrong in ["", ".a", "a b", "a/b", "ä", "a\n", &"a".repeat(ID_LEN_MAX + 1)] {
        assert!(matches!(PersonId::parse(wrong), Err(PeopleError::Invalid { field: "name", .. })), "{wrong}");
    }
    let (_, people) = people();
    let guid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let made = put(&people, guid, &write(PlatformRole::Viewer));
    assert!(matches!(made, Err(PeopleError::Unknown(_))), "ids of providers' people are not names");
}

#[test]
fn what_is_written_of_somebody_is_checked() {
    let (_, people) = people();
    let with = |change: fn(&mut PersonWrite)| {
        let mut write = write(PlatformRole::Viewer);
        change(&mut write);
        put(&people, "jane", &write)
    };
    assert_eq!(with(|_| {}).unwrap().display_name, "jane");
    assert_eq!(with(|write| write.display_name = "x".repeat(128)).unwrap().display_name.len(), 128);
    let changes: [fn(&mut PersonWrite); 5] = [
        |write| write.display_name = "x".repeat(129),
        |write| write.display_name = "a\nb".into(),
        |write| write.email = Some("@x".into()),
        |write| write.email = Some("a b@x".into()),
        |write| write.email = Some(format!("a@{}", "x".repeat(EMAIL_LEN_MAX))),
    ];
    for change in changes {
        assert!(matches!(with(change), Err(PeopleError::Invalid { .. })));
    }
    let seen = people.find(&id("jane")).unwrap().revision;
    let late = block_on(people.put(NOW, &id("jane"), &write(PlatformRole::Viewer), Some(seen - 1)));
    assert!(matches!(late, Err(PeopleError::Changed(_))));
    assert!(block_on(people.put(NOW, &id("jane"), &write(PlatformRole::Viewer), Some(seen))).is_ok());
}

#[test]
fn an_administrator_of_ours_is_always_left() {
    let (_, people) = people();
    block_on(people.welcome(NOW, &foreign("1"), PlatformRole::Administrator)).unwrap();
    let is_last = |done: Result<(), PeopleError>| matches!(done, Err(PeopleError::LastAdministrator(_)));
    assert!(is_last(block_on(people.delete(&id("admin")))));
    assert!(is_last(put(&people, "admin", &write(PlatformRole::Operator)).map(drop)));
    let disabled = PersonWrite { disabled: true, ..write(PlatformRole::Administrator) };
    assert!(is_last(put(&people, "admin", &disabled).map(drop)));
    put(&people, "jane", &write(PlatformRole::Administrator)).unwrap();
    put(&people, "admin", &disabled).unwrap();
    assert!(is_last(block_on(people.delete(&id("jane")))));
    block_on(people.delete(&id("admin"))).unwrap();
}

#[test]
fn credentials_are_written_over_those_that_were_seen() {
    let (memory, people) = people();
    let seen = people.find(&id("admin")).unwrap();
    let link = PasswordLink { hash: SecretHash::of("x"), until: NOW.plus(Duration::from_secs(1)) };
    block_on(people.put_link(&id("admin"), &link)).unwrap();
    let late = block_on(people.put_credentials(&seen, &credentials(), true));
    assert!(matches!(late, Err(PeopleError::Changed(_))));
    let seen = people.find(&id("admin")).unwrap();
    assert!(seen.has_link(&SecretHash::of("x"), NOW) && !seen.has_link(&SecretHash::of("y"), NOW));
    assert!(!seen.has_link(&SecretHash::of("x"), link.until), "over");
    block_on(people.put_credentials(&seen, &credentials(), true)).unwrap();
    let seen = load(&memory).find(&id("admin")).unwrap();
    assert!(seen.credentials.is_some() && seen.link.is_some());
    block_on(people.put_credentials(&seen, &credentials(), false)).unwrap();
    assert!(load(&memory).find(&id("admin")).unwrap().link.is_none());
    let disabled = Person { disabled: true, ..Person::clone(&seen) };
    assert!(!disabled.has_link(&SecretHash::of("x"), NOW));
}

#[test]
fn somebody_of_a_provider_is_known_by_issuer_and_subject() {
    let (_, people) = people();
    let welcome = |user: &ForeignUser, role| block_on(people.welcome(NOW, user, role));
    let one = welcome(&foreign("1"), PlatformRole::Viewer).unwrap();
    assert!(Guid::parse(one.id.as_str()).is_ok(), "never the `admin` that they call themselves");
    let again = welcome(&foreign("1"), PlatformRole::Viewer).unwrap();
    assert_eq!((&again.id, again.revision), (&one.id, one.revision), "nothing to write");
    assert_eq!(welcome(&foreign("1"), PlatformRole::Operator).unwrap().role, PlatformRole::Operator);
    let other = ForeignUser { issuer: "https://id.example1".into(), ..foreign("") };
    let ids = [foreign("2"), other].map(|user| welcome(&user, PlatformRole::Viewer).unwrap().id.clone());
    assert!(ids[0] != ids[1] && !ids.contains(&one.id));
    // What the provider says is not an administrator's to write, but that they may not come.
    let said =
        PersonWrite { display_name: "admin".into(), email: again.email.clone(), ..write(PlatformRole::Operator) };
    let more = PersonWrite { role: PlatformRole::Administrator, ..said.clone() };
    assert!(matches!(put(&people, one.id.as_str(), &more), Err(PeopleError::Foreign(_))));
    put(&people, one.id.as_str(), &PersonWrite { disabled: true, ..said }).unwrap();
    assert!(matches!(welcome(&foreign("1"), PlatformRole::Operator), Err(PeopleError::Disabled(_))));
    let link = PasswordLink { hash: SecretHash::of("x"), until: NOW };
    assert!(matches!(block_on(people.put_link(&one.id, &link)), Err(PeopleError::Foreign(_))));
}

#[test]
fn roles_are_ordered_and_have_names() {
    assert!(PlatformRole::Administrator > PlatformRole::Operator && PlatformRole::Viewer > PlatformRole::Member);
    for (role, name) in PlatformRole::NAMES {
        assert_eq!((PlatformRole::parse(name), role.name()), (Some(role), name));
        assert_eq!(serde_json::to_value(role).unwrap(), name);
    }
    assert_eq!(PlatformRole::parse("Administrator"), None);
}

#[test]
fn a_document_of_another_shape_is_refused() {
    let (memory, people) = people();
    let text = people.find(&id("admin")).unwrap().document();
    let first = concat!(
        r#"{"v":1,"displayName":"admin","role":"administrator","origin":{"kind":"local"},"#,
        r#""disabled":false,"revision":1,"createdAt":1000}"#
    );
    assert_eq!(text, first, "the shape of version 1");
    assert!(Person::read("admin", &text).is_ok());
    for (from, to) in [("\"v\":1", "\"v\":2"), ("\"disabled\"", "\"enabled\""), ("local", "remote")] {
        assert!(Person::read("admin", &text.replace(from, to)).is_err(), "{to}");
    }
    drop(memory);
}
