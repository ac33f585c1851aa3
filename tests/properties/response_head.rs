//! The property of response heads: the meaning does not depend on the fragments, and the framing follows from the
//! fields.
//!
//! Bits 0 and 1 of the flags select the method of the request, bit 2 selects small limits.

use neraca::http::framing::Framing;
use neraca::http::head::{FieldSlots, HeadError, HeadLimits, HeadScan, Method, ResponseHead, Version};

use super::{Input, is_one_line, lines, values};

/// The meaning of a response head, to compare two readings of one head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    pub len: usize,
    pub status: u16,
    pub reason: String,
    pub version: Version,
    pub framing: Framing,
    pub content_length: Option<u64>,
    pub keep_alive: bool,
    pub fields: usize,
}

impl Meaning {
    /// Returns the meaning of a parsed head.
    pub fn of(head: &ResponseHead<'_>) -> Self {
        Meaning {
            len: head.len,
            status: head.status,
            reason: head.reason.to_owned(),
            version: head.version,
            framing: head.framing,
            content_length: head.content_length,
            keep_alive: head.keep_alive,
            fields: head.fields.iter().count(),
        }
    }
}

/// Returns the method that bits 0 and 1 of the flags select.
pub fn asked(flags: u8) -> Method {
    [Method::Get, Method::Head, Method::Post, Method::Connect][usize::from(flags & 3)]
}

fn limits(flags: u8) -> HeadLimits {
    match flags & 4 {
        0 => HeadLimits::default(),
        _ => HeadLimits { head_bytes: 200, ..HeadLimits::default() },
    }
}

/// Reads `message` while it grows to each length in `arrivals`.
fn read(
    input: &Input<'_>,
    message: &[u8],
    arrivals: impl Iterator<Item = usize>,
) -> Result<Option<Meaning>, HeadError> {
    let (mut scan, asked, limits) = (HeadScan::default(), asked(input.flags), limits(input.flags));
    for end in arrivals {
        let mut slots = FieldSlots::new();
        if let Some(head) = scan.response(&message[..end], asked, &limits, &mut slots)? {
            check_head(&head, asked, &message[..end]);
            return Ok(Some(Meaning::of(&head)));
        }
    }
    Ok(None)
}

/// Checks the property.
pub fn check(bytes: &[u8]) {
    let Some(input) = Input::from_bytes(bytes) else { return };
    let whole = read(&input, input.message, [input.message.len()].into_iter());
    let in_pieces = read(&input, input.message, input.arrivals());
    // A fault in an unfinished head may be found later, when the head has ended or doubled. If a head is too large and
    // has another fault, either fault may be found first.
    let found_later = whole.is_err() && in_pieces == Ok(None);
    let too_large = whole == Err(HeadError::TooLarge) && in_pieces.is_err();
    assert!(whole == in_pieces || found_later || too_large, "whole {whole:?}, in pieces {in_pieces:?}");
    if let Ok(Some(meaning)) = whole {
        let alone = read(&input, &input.message[..meaning.len], [meaning.len].into_iter());
        assert_eq!(alone, Ok(Some(meaning)), "the bytes behind a head change its meaning");
    }
}

/// Compares a head with an independent reading of its lines.
fn check_head(head: &ResponseHead<'_>, asked: Method, bytes: &[u8]) {
    let lines = lines(&bytes[..head.len]);
    assert_eq!(head.fields.iter().count(), lines.len() - 1, "a field more or less than lines");
    for field in head.fields.iter() {
        assert!(!field.name.is_empty() && is_one_line(field.name.as_bytes()) && is_one_line(field.value));
    }
    assert!((100..=599).contains(&head.status) && is_one_line(head.reason.as_bytes()));
    let (lengths, codings) = (values(&lines, "content-length"), values(&lines, "transfer-encoding"));
    assert!(lengths.is_empty() || codings.is_empty(), "both Content-Length and Transfer-Encoding");
    assert_eq!(head.content_length.is_some(), !lengths.is_empty());
    let bodiless = head.status < 200
        || matches!(head.status, 204 | 304)
        || asked == Method::Head
        || (asked == Method::Connect && head.status < 300);
    let expected = match (bodiless, head.content_length, codings.is_empty()) {
        (true, ..) => Framing::None,
        (_, Some(n), _) => Framing::Length(n),
        (_, None, true) => Framing::UntilClose,
        (_, None, false) => Framing::Chunked,
    };
    assert_eq!(head.framing, expected);
    assert!(!head.keep_alive || head.framing != Framing::UntilClose);
}
