//! Reading and checking the header.
//!
//! Order of the checks: the length against the file, the text as UTF-8 and JSON, the names against
//! each other, each entry by itself, and last the entries together, in the order of their data,
//! which they must tile from the first byte to the end of the file.

use std::collections::BTreeMap;
use std::fmt;

use ::safetensors::Dtype;
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

use super::error::{MAX_DIMENSIONS, SafetensorsError, shown};
use super::{LENGTH_BYTES, MAX_HEADER_BYTES, StoredDType, TensorEntry};
use crate::tensor::n_elements;

/// A checked header.
pub(super) struct Header {
    /// Sorted by name.
    pub entries: Vec<TensorEntry>,
    pub metadata: BTreeMap<String, String>,
}

/// Reads the header of the whole file `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Header, SafetensorsError> {
    let (text, data) = split(bytes)?;
    let raw: RawHeader =
        serde_json::from_str(text).map_err(|reason| SafetensorsError::InvalidJson {
            reason: shown(&reason.to_string()),
        })?;
    // First of all: the crate lets the last of two equal names win, so the other may say anything.
    let sorted_names = sorted(raw.tensors.iter().map(|(name, _)| name.as_str()));
    if let Some(name) = first_duplicate(&sorted_names) {
        return Err(SafetensorsError::DuplicateTensor { name: shown(name) });
    }
    let data_start = bytes.len() - data.len();
    let mut entries = raw
        .tensors
        .into_iter()
        .map(|(name, info)| entry(name, info, data.len()))
        .collect::<Result<Vec<_>, _>>()?;

    entries.sort_unstable_by(|left, right| {
        (left.offset, left.n_bytes, &left.name).cmp(&(right.offset, right.n_bytes, &right.name))
    });
    check_tiling(&entries, data.len())?;

    entries
        .iter_mut()
        .for_each(|entry| entry.offset += data_start);
    entries.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(Header {
        entries,
        metadata: metadata(raw.metadata)?,
    })
}

/// The header text and the data after it.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), SafetensorsError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(SafetensorsError::TooShort {
            file_bytes: bytes.len(),
        });
    };
    let claimed = u64::from_le_bytes(*length);
    let (header, data) = usize::try_from(claimed)
        .ok()
        .and_then(|header_bytes| rest.split_at_checked(header_bytes))
        .ok_or(SafetensorsError::HeaderBeyondFile {
            claimed,
            available: rest.len(),
        })?;
    if header.len() > MAX_HEADER_BYTES {
        return Err(SafetensorsError::HeaderTooLarge {
            header_bytes: header.len(),
        });
    }
    match std::str::from_utf8(header) {
        Ok(text) => Ok((text, data)),
        Err(error) => Err(SafetensorsError::NotUtf8 {
            at: error.valid_up_to(),
        }),
    }
}

/// Checks one entry by itself. Its offset still counts from the end of the header.
fn entry(name: String, info: RawInfo, data_bytes: usize) -> Result<TensorEntry, SafetensorsError> {
    let RawInfo {
        dtype,
        shape,
        data_offsets: (begin, end),
    } = info;
    let dtype = parse_dtype(&name, &dtype)?;
    if shape.len() > MAX_DIMENSIONS {
        return Err(SafetensorsError::TooManyDimensions {
            name: shown(&name),
            n_dimensions: shape.len(),
        });
    }
    if begin > end || end > data_bytes {
        return Err(SafetensorsError::OffsetsOutOfRange {
            name: shown(&name),
            begin,
            end,
            data_bytes,
        });
    }
    let n_bytes = end - begin;
    let Some(needed_bits) = n_elements(&shape).and_then(|n| n.checked_mul(dtype.bitsize())) else {
        return Err(SafetensorsError::ShapeOverflow {
            name: shown(&name),
            dtype: dtype.to_string(),
            shape,
        });
    };
    // Compared in bits, so that 4 and 6-bit elements that do not fill their last byte are refused
    // too.
    if n_bytes.checked_mul(8) != Some(needed_bits) {
        let (name, dtype) = (shown(&name), dtype.to_string());
        return Err(SafetensorsError::ShapeMismatch {
            name,
            dtype,
            shape,
            needed_bits,
            n_bytes,
        });
    }
    Ok(TensorEntry {
        name,
        dtype: StoredDType::from(dtype),
        shape,
        offset: begin,
        n_bytes,
    })
}

fn parse_dtype(name: &str, dtype: &str) -> Result<Dtype, SafetensorsError> {
    Dtype::deserialize(dtype.into_deserializer()).map_err(|reason: serde::de::value::Error| {
        // serde says "unknown variant `X`, expected one of `BOOL`, ..": the list of the crate's own
        // version.
        let reason = reason.to_string();
        let allowed = reason
            .rsplit_once("expected ")
            .map_or("unknown", |(_, list)| list);
        SafetensorsError::UnknownDtype {
            name: shown(name),
            dtype: shown(dtype),
            allowed: allowed.to_owned(),
        }
    })
}

/// Checks that `entries`, sorted by offset, cover the data without overlaps or holes.
fn check_tiling(entries: &[TensorEntry], data_bytes: usize) -> Result<(), SafetensorsError> {
    let mut covered = 0;
    let mut previous = "";
    for entry in entries {
        if entry.offset < covered {
            return Err(SafetensorsError::Overlap {
                name: shown(&entry.name),
                begin: entry.offset,
                previous: shown(previous),
                previous_end: covered,
            });
        }
        if entry.offset > covered {
            return Err(SafetensorsError::Hole {
                begin: covered,
                end: entry.offset,
            });
        }
        covered += entry.n_bytes;
        previous = &entry.name;
    }
    if covered < data_bytes {
        return Err(SafetensorsError::Hole {
            begin: covered,
            end: data_bytes,
        });
    }
    Ok(())
}

fn metadata(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, SafetensorsError> {
    let sorted_keys = sorted(pairs.iter().map(|(key, _)| key.as_str()));
    match first_duplicate(&sorted_keys) {
        Some(key) => Err(SafetensorsError::DuplicateMetadata { key: shown(key) }),
        None => Ok(pairs.into_iter().collect()),
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

fn first_duplicate<'a>(sorted: &[&'a str]) -> Option<&'a str> {
    sorted
        .windows(2)
        .find_map(|pair| (pair[0] == pair[1]).then_some(pair[0]))
}

/// The header as stored: nothing checked, equal names kept.
struct RawHeader {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, RawInfo)>,
}

#[derive(serde::Deserialize)]
struct RawInfo {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut metadata: Option<Option<Pairs>> = None;
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        let named =
                            |error| A::Error::custom(format!("tensor {:?}: {error}", shown(&name)));
                        let info = map.next_value().map_err(named)?;
                        tensors.push((name, info));
                    } else if metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("__metadata__"));
                    }
                }
                let metadata = metadata.flatten().map_or_else(Vec::new, |pairs| pairs.0);
                Ok(RawHeader { metadata, tensors })
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// A JSON object of strings as a list, because a map would lose the first of two equal keys.
pub(in crate::io) struct Pairs(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}
