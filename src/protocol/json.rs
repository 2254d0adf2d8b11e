//! A look into a JSON object without taking it apart: its members as the text
//! they stand in, so that one can be read or replaced and the rest stays as it came.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::message::{span_in, splice};

/// The members of one object in their order. A member that stands twice is an
/// error: readers disagree about which one counts.
#[derive(Debug, Clone)]
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and texts of all members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.get()))
    }

    /// The text of a member.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value.get())
    }

    /// A member that is a string, without its quotes and escapes.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        string(self.get(name)?)
    }

    /// The pieces of `text` that go with these members: without them the rest is an object still. `json` is the text that
    /// this object was read from, a part of `text`.
    pub fn without(&self, text: &[u8], json: &str, is_meant: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
        let open = span_in(text, json).start + 1;
        let end = |index: usize| span_in(text, self.0[index].1.get()).end;
        let is_meant = |index: usize| self.0.get(index).is_some_and(|(name, _)| is_meant(name));
        let mut pieces = Vec::new();
        let mut index = 0;
        while index < self.0.len() {
            let first = index;
            while is_meant(index) {
                index += 1;
            }
            if index > first {
                let last = end(index - 1);
                pieces.push(match first.checked_sub(1) {
                    // With the comma before the first of them.
                    Some(before) => end(before)..last,
                    None if index == self.0.len() => open..last,
                    // With the comma behind the last of them.
                    None => open..last + text[last..].iter().position(|byte| *byte == b',').map_or(0, |comma| comma + 1),
                });
            }
            index += 1;
        }
        pieces
    }

    /// Where the member's value stands in `text`, which this object was read from.
    pub fn span(&self, text: &[u8], name: &str) -> Option<Range<usize>> {
        self.get(name).map(|value| span_in(text, value))
    }
}

/// A value whose text must be an object. What serde derives for a structure reads an array too, its elements as the members
/// in their order, which no peer ever means.
#[derive(Debug, Default)]
pub struct FromObject<T>(pub T);

/// Reads an object into a structure. Structures within it are [`FromObject`], too.
///
/// # Errors
/// What is wrong with the text, for people.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).map(|FromObject(value)| value)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = FromObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(FromObject)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// The first elements of an array, of which no more than `most` are ever held.
#[derive(Debug)]
pub struct Elements<'a> {
    pub texts: Vec<&'a RawValue>,
    /// There were more.
    pub is_cut: bool,
}

impl<'a> Elements<'a> {
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &'a [u8], most: usize) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let elements = deserializer.deserialize_seq(AtMost(most))?;
        deserializer.end().map(|()| elements)
    }
}

struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while texts.len() < self.0 {
            match elements.next_element()? {
                Some(text) => texts.push(text),
                None => return Ok(Elements { texts, is_cut: false }),
            }
        }
        let mut is_cut = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(Elements { texts, is_cut })
    }
}

/// A JSON string's content; `None` if the text is something else.
pub fn string(json: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(json).ok().map(|key| key.0)
}

/// A JSON string of this content.
pub fn quoted(text: &str) -> Bytes {
    serde_json::to_vec(text).expect("a string is always JSON").into()
}

/// `object` with `"name":value` as a member more. It must not have that member.
pub fn with_member(object: &Bytes, name: &str, value: &str) -> Bytes {
    let open = object.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
    let empty = object[open..].trim_ascii_start().starts_with(b"}");
    let comma = if empty { "" } else { "," };
    let member = format!("{}:{value}{comma}", serde_json::Value::from(name));
    splice(object, &[(open..open, member.into())])
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                /// So many are compared one by one, which is quicker than to hash them.
                const FEW: usize = 32;
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                // SECURITY: of many, each must not be compared with all others: a client could keep us busy for hours with
                // one message (threat model T11).
                let mut names = HashSet::new();
                while let Some((Key(name), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if members.len() == FEW {
                        names.extend(members.iter().map(|(name, _)| name.clone()));
                    }
                    let twice =
                        if members.len() < FEW { members.iter().any(|(other, _)| *other == name) } else { !names.insert(name.clone()) };
                    if twice {
                        return Err(A::Error::custom(format_args!("the member `{}` stands twice", name.escape_debug())));
                    }
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string that is borrowed where it has no escapes; `Cow` by itself never is.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_where_they_stand() {
        let text = r#"{ "a" : 1.0, "n\u0061me":"x\ny" }"#;
        let object = Object::parse(text).expect("an object");
        assert_eq!(object.get("a"), Some("1.0"));
        assert_eq!(object.string("name").as_deref(), Some("x\ny"));
        assert_eq!(object.string("a"), None);
        assert_eq!(object.span(text.as_bytes(), "a").map(|span| &text[span]), Some("1.0"));
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Outer<'a> {
            #[serde(borrow)]
            a: Option<&'a RawValue>,
            b: Option<FromObject<Inner>>,
        }
        #[derive(Deserialize)]
        struct Inner {
            x: u8,
        }
        let b = |text| read::<Outer<'_>>(text).ok().map(|Outer { a, b }| (a.map(RawValue::get), b.map(|FromObject(Inner { x })| x)));
        assert_eq!(b(r#" {"a":[1.0],"b":{"x":7}}"#), Some((Some("[1.0]"), Some(7))));
        assert_eq!(b(r#"{"b":null}"#), Some((None, None)));
        for text in ["[]", "[[1.0]]", r#"[[1.0],{"x":7}]"#, r#"{"b":[7]}"#, "null", "7", "{"] {
            assert_eq!(b(text), None, "{text}");
        }
    }

    #[test]
    fn of_an_array_no_more_is_held_than_may_be() {
        let parse = |text: &'static str| {
            let elements = Elements::parse(text.as_bytes(), 2).ok()?;
            Some((elements.texts.into_iter().map(RawValue::get).collect::<Vec<_>>(), elements.is_cut))
        };
        assert_eq!(parse(" [ ]"), Some((vec![], false)));
        assert_eq!(parse(r#"[{"a":1.0}, [2]]"#), Some((vec![r#"{"a":1.0}"#, "[2]"], false)));
        assert_eq!(parse("[1,2,3,4]"), Some((vec!["1", "2"], true)));
        for text in ["[1,2,3", "[1]x", "{}", "7"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn members_are_taken_out() {
        let check = |json: &str, expect: &str| {
            let text = format!("[ {json} ]");
            let json = &text[2..2 + json.len()];
            let object = Object::parse(json).expect("an object");
            let pieces = object.without(text.as_bytes(), json, |name| matches!(name, "x" | "y"));
            let edits: Vec<_> = pieces.into_iter().map(|piece| (piece, Bytes::new())).collect();
            assert_eq!(splice(text.as_bytes(), &edits), format!("[ {expect} ]"), "{json}");
        };
        check(r#"{"a":1}"#, r#"{"a":1}"#);
        check(r#"{ "x" : 1 }"#, "{ }");
        check(r#"{"x":1,"y":2}"#, "{}");
        check(r#"{"x":[1,2] , "a":1}"#, r#"{ "a":1}"#);
        check(r#"{"x":1,"y":2,"a":1}"#, r#"{"a":1}"#);
        check(r#"{"a":1 ,"x":1,"y":2}"#, r#"{"a":1}"#);
        check(r#"{"a":1,"x":1,"b":2,"\u0079":2,"c":3}"#, r#"{"a":1,"b":2,"c":3}"#);
        check(r#"{"x":1,"b":2,"y":2}"#, r#"{"b":2}"#);
        check("{}", "{}");
    }

    #[test]
    fn what_is_no_object_or_says_things_twice_is_refused() {
        for text in ["[]", "1", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn many_members_are_no_work_without_end() {
        let members = |count: usize, last: &str| {
            let members: Vec<_> = (0..count).map(|n| format!(r#""m{n}":1"#)).chain([last.to_owned()]).collect();
            format!("{{{}}}", members.join(","))
        };
        for count in [31, 32, 33, 100] {
            assert!(Object::parse(&members(count, r#""x":1"#)).is_ok(), "{count}");
            for known in [0, 30, count - 1] {
                assert!(Object::parse(&members(count, &format!(r#""m{known}":1"#))).is_err(), "{known} of {count}");
            }
        }
        // One by one this takes minutes.
        let many = members(300_000, r#""x":1"#);
        let begun = std::time::Instant::now();
        assert!(Object::parse(&many).is_ok());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_member_is_added_in_front() {
        for (object, expect) in [("{}", r#"{"m":[1]}"#), ("{ }", r#"{"m":[1] }"#), (r#" {"a":1}"#, r#" {"m":[1],"a":1}"#)] {
            assert_eq!(with_member(&Bytes::copy_from_slice(object.as_bytes()), "m", "[1]"), expect);
        }
    }
}
