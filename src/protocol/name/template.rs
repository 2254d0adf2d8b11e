//! Does a URI come from a URI template (RFC 6570)? Needed for reads of URIs that
//! no list holds. This is matching only; nothing is expanded.
//!
//! Expressions match what their expansion can produce: a simple `{x}` no reserved
//! character, `{+x}` and `{#x}` anything, `{/x*}`, `{.x}`, `{;x}`, `{?x,y}`, `{&x}` their own
//! separators. An expression may match nothing, as an undefined variable expands to
//! nothing, except the simple `{x}`, where an empty value names no resource.

/// A template that was taken apart once.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
    /// Literal characters: the more, the closer a match.
    literals: usize,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Expression(Expression),
}

#[derive(Debug, Clone)]
struct Expression {
    /// What the expansion begins with, if it is not empty.
    lead: Option<u8>,
    /// Whether values may hold reserved characters.
    reserved: bool,
    optional: bool,
}

impl Template {
    /// `None` where braces do not pair up.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            if open > 0 {
                parts.push(Part::Literal(rest[..open].to_owned()));
            }
            let close = rest[open..].find('}')? + open;
            parts.push(expression(&rest[open + 1..close])?);
            rest = &rest[close + 1..];
        }
        if rest.contains('}') {
            return None;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        let literals = parts.iter().map(|part| if let Part::Literal(text) = part { text.len() } else { 0 }).sum();
        Some(Self { parts, literals })
    }

    /// How close the match is (more is closer), or `None`.
    pub fn matches(&self, uri: &str) -> Option<usize> {
        matches(&self.parts, uri.as_bytes()).then_some(self.literals)
    }
}

fn expression(text: &str) -> Option<Part> {
    let operator = *text.as_bytes().first()?;
    let (lead, reserved, optional) = match operator {
        b'+' => (None, true, true),
        b'#' => (Some(b'#'), true, true),
        b'.' | b'/' | b';' | b'?' | b'&' => (Some(operator), false, true),
        // Kept for extensions by the RFC.
        b'=' | b',' | b'!' | b'@' | b'|' => return None,
        _ => (None, false, false),
    };
    Some(Part::Expression(Expression { lead, reserved, optional }))
}

/// Which positions of `uri` the parts so far can end at, carried over the parts:
/// linear in both, because a template is a server's word and a URI a client's.
fn matches(parts: &[Part], uri: &[u8]) -> bool {
    let mut reachable = vec![false; uri.len() + 1];
    reachable[0] = true;
    for part in parts {
        reachable = match part {
            Part::Literal(text) => after_literal(&reachable, text.as_bytes(), uri),
            Part::Expression(expression) => after_expression(&reachable, expression, uri),
        };
    }
    reachable[uri.len()]
}

fn after_literal(reachable: &[bool], text: &[u8], uri: &[u8]) -> Vec<bool> {
    let mut next = vec![false; reachable.len()];
    for at in (0..=uri.len()).filter(|at| reachable[*at]) {
        if uri[at..].starts_with(text) {
            next[at + text.len()] = true;
        }
    }
    next
}

fn after_expression(reachable: &[bool], expression: &Expression, uri: &[u8]) -> Vec<bool> {
    let mut next = if expression.optional { reachable.to_vec() } else { vec![false; reachable.len()] };
    // A value runs from where one may start to the first byte that none may hold.
    let mut inside = false;
    for at in 0..uri.len() {
        let starts = match expression.lead {
            None => reachable[at],
            Some(lead) => at > 0 && reachable[at - 1] && uri[at - 1] == lead,
        };
        inside = (inside || starts) && expression.allows(uri[at]);
        next[at + 1] |= inside;
    }
    next
}

impl Expression {
    fn allows(&self, byte: u8) -> bool {
        const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";
        self.reserved
            || !RESERVED.contains(&byte)
            // A list of values, `{x*}` or `{x,y}`.
            || byte == b','
            || match self.lead {
                Some(b'/') => byte == b'/',
                Some(b';') => byte == b';' || byte == b'=',
                Some(b'?' | b'&') => byte == b'&' || byte == b'=',
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_a_template_are_recognised() {
        #[track_caller]
        fn check(template: &str, uri: &str, expect: bool) {
            let template = Template::parse(template).expect("the template is well formed");
            assert_eq!(template.matches(uri).is_some(), expect);
        }
        check("test://static", "test://static", true);
        check("test://static", "test://static/", false);
        check("test://template/{id}/data", "test://template/7/data", true);
        check("test://template/{id}/data", "test://template/a%20b/data", true);
        check("test://template/{id}/data", "test://template//data", false);
        check("test://template/{id}/data", "test://template/7/8/data", false);
        check("file:///{+path}", "file:///a/b?c=d", true);
        check("repo://{owner}/{repo}{/path*}", "repo://o/r/src/lib.rs", true);
        check("repo://{owner}/{repo}{/path*}", "repo://o/r", true);
        check("s://q{?a,b}", "s://q?a=1&b=2", true);
        check("s://q{?a,b}", "s://q", true);
        check("s://q{?a,b}", "s://qx", false);
        check("s://{a}-{b}", "s://x-y-z", true);
        check("s://{a}{b}", "s://xy", true);
    }

    #[test]
    fn broken_templates_are_no_templates() {
        for text in ["a{", "a}", "a{b", "{}", "{=x}"] {
            assert!(Template::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_closer_template_wins() {
        let loose = Template::parse("a://{+rest}").and_then(|t| t.matches("a://x/y"));
        let close = Template::parse("a://x/{id}").and_then(|t| t.matches("a://x/y"));
        assert!(close > loose);
    }
}
