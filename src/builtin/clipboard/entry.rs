//! Entries of the clipboard as the App gives them, and as we show them.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    super::{
        members::{self, Members, word},
        outcome::{Output, json_text},
        time,
    },
    check::{Place, is_base64, is_image, is_image_type},
};
use crate::security::redact;

/// Of a value in an overview, in characters.
const PREVIEW: usize = 100;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idx: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Instead of the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by_tool: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Expiry::is_unknown")]
    expires_at: Expiry,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Expiry {
    At(String),
    /// `null`, as the App has it.
    Never,
    Unknown,
}

impl Expiry {
    fn of(entry: Members<'_>) -> Self {
        match entry.get("expiresAt") {
            Some(Value::Null) => Self::Never,
            _ => entry.time("expiresAt").map_or(Self::Unknown, Self::At),
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

impl Entry {
    pub(super) fn of(entry: Members<'_>) -> Self {
        Self {
            uuid: entry.owned("uuid"),
            name: entry.owned("name"),
            idx: entry.integer("idx"),
            value: entry.get("value").and_then(Value::as_str).map(str::to_owned),
            preview: None,
            content_type: entry.owned("contentType"),
            encoding: entry.owned("encoding"),
            size_bytes: entry.integer("sizeBytes"),
            visibility: entry.owned("visibility"),
            created_by_tool: entry.owned("createdByTool"),
            created_by_model: entry.owned("createdByModel"),
            source: entry.owned("source"),
            created_at: entry.time("createdAt"),
            updated_at: entry.time("updatedAt"),
            expires_at: Expiry::of(entry),
        }
    }

    pub(super) fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// Since when, if it has.
    pub(super) fn expired(&self) -> Option<&str> {
        match &self.expires_at {
            Expiry::At(time) if time::is_past(time) => Some(time),
            _ => None,
        }
    }

    /// What was stored. The value is not repeated.
    pub(super) fn stored(mut self, place: &Place, size: usize) -> Output {
        self.value = None;
        self.size_bytes = self.size_bytes.or_else(|| i64::try_from(size).ok());
        self.name = self.name.or_else(|| place.name.clone());
        self.idx = self.idx.or_else(|| place.index.map(i64::from));
        let size = self.size_bytes.unwrap_or_default();
        let text = format!("Stored on the clipboard: {}, {size} bytes, {}.", self.key(), self.expiry());
        Output::structured(text, &self)
    }

    /// This entry alone, whole, after a note on it. An image is shown as one.
    pub(super) fn shown(mut self, note: &str) -> Output {
        if let (Some(kind), Some("base64")) = (&self.content_type, self.encoding.as_deref())
            && is_image_type(kind)
            && let Some(data) = self.value.take_if(|value| is_base64(value))
        {
            return Output::structured("", &json!({ "entry": self })).with_image(self.content_type.as_deref().unwrap_or_default(), &data);
        }
        let text = json_text(&self);
        let text = if note.is_empty() { text } else { format!("{note}\n\n{text}") };
        Output::structured(text, &json!({ "entry": self }))
    }

    fn is_image(&self) -> bool {
        self.content_type.as_deref().is_some_and(is_image)
    }

    /// By what it is found.
    fn key(&self) -> String {
        match (&self.name, self.idx) {
            (Some(name), Some(index)) => format!("`{}` (index {index})", word(name)),
            (Some(name), None) => format!("`{}`", word(name)),
            (None, Some(index)) => format!("index {index}"),
            (None, None) => "an entry without name and index".to_owned(),
        }
    }

    fn expiry(&self) -> String {
        match &self.expires_at {
            Expiry::At(time) => format!("expires at {time}"),
            Expiry::Never => "never expires".to_owned(),
            Expiry::Unknown => "expires at an unknown time".to_owned(),
        }
    }
}

/// A part of the list, without what has expired.
#[derive(Debug)]
pub(super) struct Page {
    entries: Vec<Entry>,
    total: i64,
    limit: Option<i64>,
    offset: Option<i64>,
    expired: usize,
}

impl Page {
    /// `None` for an answer that holds no list.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let mut entries: Vec<_> = members::list(answer, "entries")?.map(Entry::of).collect();
        let answer = Members::of(answer)?;
        let all = entries.len();
        let total = answer.integer("total").unwrap_or_else(|| i64::try_from(all).unwrap_or(i64::MAX));
        entries.retain(|entry| entry.expired().is_none());
        let expired = all - entries.len();
        // The App shortens images in lists, and what is left of one is of no use.
        entries.iter_mut().filter(|entry| entry.is_image()).for_each(|entry| entry.value = None);
        Some(Self { entries, total, limit: answer.integer("limit"), offset: answer.integer("offset"), expired })
    }

    /// With whole values, as JSON.
    pub(super) fn whole(self) -> Output {
        Output::json(&self.data())
    }

    /// With the beginnings of values.
    pub(super) fn overview(mut self) -> Output {
        let mut text = match self.entries.len() {
            0 => "There is nothing to show on this page of the clipboard.\n".to_owned(),
            shown => format!("Clipboard entries, {shown} of {}, the newest on top:\n", self.total),
        };
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let value = entry.value.take();
            entry.preview = value.map(|value| redact::quote(&value, PREVIEW));
            let kind = entry.content_type.as_deref().map_or_else(|| "unknown type".to_owned(), word);
            let _ = write!(text, "\n{}. {}: {kind}", at + 1, entry.key());
            let _ = entry.size_bytes.map(|size| write!(text, ", {size} bytes"));
            let _ = entry.created_at.as_ref().map(|time| write!(text, ", created at {time}"));
            let _ = entry.created_by_tool.as_ref().map(|tool| write!(text, " by {}", word(tool)));
            let _ = writeln!(text, ", {}", entry.expiry());
            let _ = entry.preview.as_ref().map(|preview| writeln!(text, "   {preview}"));
        }
        if self.expired > 0 {
            let _ = write!(text, "\nLeft out, since they have expired: {}.", self.expired);
        }
        if let Some(next) = self.next() {
            let _ = write!(text, "\nThere are more: go on with the offset {next}.");
        }
        if !self.entries.is_empty() {
            text.push_str("\n`pluggedin_clipboard_get` with a name or index gives the whole value.");
        }
        Output::structured(text.trim_end(), &self.data())
    }

    /// Where the next page begins, if there is one.
    fn next(&self) -> Option<i64> {
        let shown = i64::try_from(self.entries.len() + self.expired).ok().filter(|shown| *shown > 0)?;
        self.offset?.checked_add(shown).filter(|next| *next < self.total)
    }

    fn data(&self) -> Value {
        let Self { entries, total, limit, offset, expired } = self;
        let mut data = json!({ "entries": entries, "total": total });
        for (name, value) in [("limit", limit), ("offset", offset)] {
            if let Some(value) = value {
                data[name] = json!(value);
            }
        }
        if *expired > 0 {
            data["expired"] = json!(expired);
        }
        data
    }
}

#[cfg(test)]
mod tests;
