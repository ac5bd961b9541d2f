//! Any bytes as a value and as a message; what decodes must decode again after encoding.
#![no_main]

use bytes::Bytes;
use gantry_amqp::decode::Reader;
use gantry_amqp::{Message, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(value) = Reader::new(&bytes).value() {
        let mut once = Vec::new();
        encode::value(&mut once, &value);
        let once = Bytes::from(once);
        let again = Reader::new(&once).value().expect("what we write can be read");
        // Compared as bytes, because a NaN is not equal to itself.
        let mut twice = Vec::new();
        encode::value(&mut twice, &again);
        assert_eq!(once, twice);
    }
    let _ = Message::decode(&bytes);
});
