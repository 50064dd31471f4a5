//! Fields of a serialised message, as protobuf's wire format has them.
//! <https://protobuf.dev/programming-guides/encoding/>

/// A field's number and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) number: u32,
    pub(super) raw: Raw<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Len(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The message is no sequence of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no protobuf message")]
pub(super) struct Malformed;

/// The message's records, in its order.
pub(super) fn records(mut message: &[u8]) -> Result<Vec<Record<'_>>, Malformed> {
    let mut records = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let raw = match key & 7 {
            0 => Raw::Varint(varint(&mut message)?),
            1 => Raw::Fixed64(*message.split_off(..8).and_then(|bytes| bytes.first_chunk()).ok_or(Malformed)?),
            2 => {
                let len = usize::try_from(varint(&mut message)?).map_err(|_| Malformed)?;
                Raw::Len(message.split_off(..len).ok_or(Malformed)?)
            }
            5 => Raw::Fixed32(*message.split_off(..4).and_then(|bytes| bytes.first_chunk()).ok_or(Malformed)?),
            _ => return Err(Malformed),
        };
        records.push(Record { number: u32::try_from(key >> 3).map_err(|_| Malformed)?, raw });
    }
    Ok(records)
}

/// Takes a varint off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first().ok_or(Malformed)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Appends a field.
pub(super) fn put(out: &mut Vec<u8>, number: u32, raw: Raw<'_>) {
    let wire_type = match raw {
        Raw::Varint(_) => 0,
        Raw::Fixed64(_) => 1,
        Raw::Len(_) => 2,
        Raw::Fixed32(_) => 5,
    };
    put_varint(out, u64::from(number) << 3 | wire_type);
    match raw {
        Raw::Varint(value) => put_varint(out, value),
        Raw::Fixed64(bytes) => out.extend_from_slice(&bytes),
        Raw::Len(bytes) => {
            put_varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        Raw::Fixed32(bytes) => out.extend_from_slice(&bytes),
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Raw, Record, put, records};

    proptest! {
        #[test]
        fn what_is_put_is_read(fields in prop::collection::vec((1_u32..1 << 29, any::<u64>(), 0..4), 0..8)) {
            let bytes = vec![7; 300];
            let fields: Vec<Record<'_>> = fields.iter().map(|(number, value, kind)| {
                let raw = match kind {
                    0 => Raw::Varint(*value),
                    1 => Raw::Fixed64(value.to_le_bytes()),
                    2 => Raw::Len(&bytes[..(*value % 300) as usize]),
                    _ => Raw::Fixed32((*value as u32).to_le_bytes()),
                };
                Record { number: *number, raw }
            }).collect();
            let mut message = Vec::new();
            fields.iter().for_each(|field| put(&mut message, field.number, field.raw));
            prop_assert_eq!(records(&message).unwrap(), fields);
        }

        #[test]
        fn nothing_panics(message in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = records(&message);
        }
    }
}
