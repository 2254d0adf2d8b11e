//! `pluggedin_list_documents`.

use std::fmt::Write;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::{
        arguments::Arguments,
        definition::{Area, Definition, Hints, Run, Running},
        members::{self, Members},
        outcome::{Failure, Output},
        services::{Services, unreadable},
    },
    Summary,
};
use crate::source::app::Request;

pub(in super::super) const DEFINITION: Definition = Definition {
    name: "pluggedin_list_documents",
    title: "List documents",
    description: "Lists the documents of the user's library by pages, uploads and those that assistants wrote, with their ids. The filters narrow it down; pluggedin_get_document reads one.",
    area: Area::Documents,
    input_schema: r#"{"type":"object","properties":{"filters":{"type":"object","description":"Only documents that match all of these","properties":{"source":{"type":"string","enum":["all","upload","ai_generated","api"],"default":"all","description":"Where it came from"},"modelName":{"type":"string"},"modelProvider":{"type":"string"},"dateFrom":{"type":"string","format":"date-time","description":"Created then or later"},"dateTo":{"type":"string","format":"date-time","description":"Created then or earlier"},"tags":{"type":"array","items":{"type":"string"},"description":"One of these"},"category":{"type":"string","enum":["report","analysis","documentation","guide","research","code","other"],"description":"Has no effect in today's plugged.in"},"searchQuery":{"type":"string","description":"Stands in the title or the description"}},"additionalProperties":false},"sort":{"type":"string","enum":["date_desc","date_asc","title","size"],"default":"date_desc","description":"The newest first if this is missing"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":20,"description":"Documents on a page"},"offset":{"type":"integer","minimum":0,"default":0,"description":"Documents to skip"}},"additionalProperties":false}"#,
    output_schema: Some(
        r#"{"type":"object","properties":{"documents":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"title":{"type":"string"},"source":{"type":"string"},"model":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"version":{"type":"integer"},"createdAt":{"type":"string"},"description":{"type":"string"}},"required":["id"]}},"total":{"type":"integer","description":"On all pages"},"nextOffset":{"type":"integer","description":"If there is more"},"note":{"type":"string"}},"required":["documents"]}"#,
    ),
    hints: Hints { read_only: true, destructive: false, idempotent: true },
    run: Run::App(super::TIMEOUT, run),
};

const CATEGORY: &str =
    "The filter `category` had no effect, because plugged.in does not look at it: these are documents of all categories.";

/// A part of the library.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    documents: Vec<Summary>,
    /// Of all pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    #[serde(skip)]
    offset: i64,
}

fn run(services: Services<'_>, mut arguments: Arguments) -> Running<'_> {
    async move {
        let mut filters = arguments.take("filters").unwrap_or_default();
        super::in_utc(&mut filters)?;
        let offset =
            arguments.integer("offset").ok_or_else(|| Failure::mistake("invalid arguments: `offset` is larger than any library"))?;
        let limit = arguments.integer("limit").expect("it has a default and bounds");
        let place = [("limit", limit.to_string()), ("offset", offset.to_string())];
        let mut query = flat(&filters);
        query.push(("sort", arguments.required("sort")));
        query.extend(place.iter().map(|(name, number)| (*name, number.as_str())));
        let request = Request { query: &query, ..Request::get(&["api", "documents"]) };
        let answer: Value = services.ask(request).await?;
        let mut page = Page::of(&answer, offset, limit).ok_or_else(unreadable)?;
        page.note = filters.get("category").map(|_| CATEGORY);
        Ok(Output::structured(page.told(), &page))
    }
    .boxed()
}

/// Filters as parameters; one with several values is there several times. The category goes with them, for an App that will look at
/// it.
fn flat(filters: &Value) -> Vec<(&str, &str)> {
    let filters = filters.as_object().into_iter().flatten();
    filters
        .flat_map(|(name, value)| {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            values.iter().filter_map(Value::as_str).map(move |value| (name.as_str(), value))
        })
        .collect()
}

impl Page {
    /// `None` of what is no list.
    fn of(answer: &Value, offset: i64, limit: i64) -> Option<Self> {
        let documents = members::list(answer, "documents")?.filter_map(Summary::of).collect();
        let count = answer.get("documents")?.as_array()?.len();
        let end = offset.saturating_add_unsigned(u64::try_from(count).ok()?);
        let total = Members::of(answer)?.integer("total");
        let is_last = end == offset || total.map_or(end - offset < limit, |total| end >= total);
        Some(Self { documents, total, next_offset: (!is_last).then_some(end), note: None, offset })
    }

    fn told(&self) -> String {
        let Self { documents, total, next_offset, note, offset } = self;
        let count = documents.len();
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        let noun = if count == 1 && total.is_none_or(|total| total == 1) { "document" } else { "documents" };
        let from = if *offset == 0 { String::new() } else { format!(" from the offset {offset} on") };
        let mut text = match (count, total) {
            (0, Some(total)) if *offset > 0 => format!("There are {total} documents, and none{from}.\n"),
            (0, _) => format!("No documents match{from}.\n"),
            _ => format!("{count}{of} {noun}{from}:\n"),
        };
        let first = usize::try_from(*offset).unwrap_or_default();
        text.extend(documents.iter().enumerate().map(|(index, document)| document.entry(first.saturating_add(index + 1), [])));
        if count > 0 {
            text.push_str("\n`pluggedin_get_document` reads one by its ID.");
        }
        if let Some(next) = next_offset {
            let _ = write!(text, "\nThere is more: call again with `offset` {next}.");
        }
        if let Some(note) = note {
            let _ = write!(text, "\n{note}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::builtin::arguments::InputSchema;

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "so that `expect!` stands alone in the calls")]
    fn check(answer: Value, offset: i64, note: Option<&'static str>, expect: Expect) {
        let page = Page::of(&answer, offset, 2).map(|page| Page { note, ..page });
        let said = page.map_or_else(
            || "unreadable".to_owned(),
            |page| {
                let data = json!(page);
                InputSchema::of(DEFINITION.output_schema.expect("it has one")).assert_allows(&data);
                format!("{}\n{data}", page.told())
            },
        );
        expect.assert_eq(&said);
    }

    #[test]
    fn pages_say_how_to_go_on() {
        let two = json!([{"id": "1", "title": "A"}, {"id": "2", "title": "B", "version": 3, "tags": null}]);
        check(
            json!({"documents": two, "total": 5, "limit": 2, "offset": 0}),
            0,
            None,
            expect![[r#"
                2 of 5 documents:

                1. **A**
                   ID: 1

                2. **B**
                   ID: 2
                   Version: 3

                `pluggedin_get_document` reads one by its ID.
                There is more: call again with `offset` 2.
                {"documents":[{"id":"1","title":"A"},{"id":"2","title":"B","version":3}],"total":5,"nextOffset":2}"#]],
        );
        check(
            json!({"documents": two, "total": 4}),
            2,
            Some("Note."),
            expect![[r#"
                2 of 4 documents from the offset 2 on:

                3. **A**
                   ID: 1

                4. **B**
                   ID: 2
                   Version: 3

                `pluggedin_get_document` reads one by its ID.
                Note.
                {"documents":[{"id":"1","title":"A"},{"id":"2","title":"B","version":3}],"total":4,"note":"Note."}"#]],
        );
        check(
            json!({"documents": [], "total": 4}),
            4,
            None,
            expect![[r#"
                There are 4 documents, and none from the offset 4 on.

                {"documents":[],"total":4}"#]],
        );
        check(
            json!({"documents": [], "total": 0}),
            0,
            Some("Note."),
            expect![[r#"
            No documents match.

            Note.
            {"documents":[],"total":0,"note":"Note."}"#]],
        );
    }

    #[test]
    fn odd_members_cost_themselves() {
        // Two came, of which one can be used; so there may be more.
        check(
            json!({"documents": [{"id": "1", "title": 7, "createdAt": "soon", "fileSize": "x"}, 7], "total": "5"}),
            0,
            None,
            expect![[r#"
                1 document:

                1. **(no title)**
                   ID: 1

                `pluggedin_get_document` reads one by its ID.
                There is more: call again with `offset` 2.
                {"documents":[{"id":"1"}],"nextOffset":2}"#]],
        );
        check(
            json!({"documents": [{"id": 7}]}),
            i64::MAX,
            None,
            expect![[r#"
            No documents match from the offset 9223372036854775807 on.

            {"documents":[]}"#]],
        );
        check(json!({"documents": {}}), 0, None, expect![["unreadable"]]);
        check(json!([]), 0, None, expect![["unreadable"]]);
        check(json!({}), 0, None, expect![["unreadable"]]);
    }

    #[test]
    fn filters_become_parameters() {
        let filters = json!({"source": "all", "tags": ["a", "b,c"], "category": "code", "searchQuery": "ü & x"});
        assert_eq!(flat(&filters), [("source", "all"), ("tags", "a"), ("tags", "b,c"), ("category", "code"), ("searchQuery", "ü & x")]);
        assert!(flat(&Value::Null).is_empty());
    }
}
