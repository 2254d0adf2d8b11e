//! What the tools are called, what they take, and what they claim to do. Descriptions are free.

use super::Ids;
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Fact {
    /// Without `pluggedin_`.
    pub(super) name: &'static str,
    /// `R` for reading only, `D` for destructive, `I` for idempotent.
    pub(super) hints: &'static str,
    /// How its main request begins; empty for those that ask no service.
    pub(super) line: &'static str,
    pub(super) input: &'static str,
}

#[rustfmt::skip]
pub(super) const TOOLS: [Fact; 27] = [
    Fact { name: "setup", hints: "RI", line: "", input: r##"{"type":"object","properties":{"topic":{"type":"string","enum":["getting_started","api_key","configuration","troubleshooting"],"default":"getting_started"}}}"## },
    Fact { name: "discover_tools", hints: "R", line: "", input: r##"{"type":"object","properties":{"server_uuid":{"type":"string","format":"uuid"},"force_refresh":{"type":"boolean","default":false}},"additionalProperties":false}"## },
    Fact { name: "ask_knowledge_base", hints: "R", line: "POST /api/rag/query", input: r##"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":1000}},"required":["query"],"additionalProperties":false}"## },
    Fact { name: "send_notification", hints: "", line: "POST /api/notifications/custom", input: r##"{"type":"object","properties":{"title":{"type":"string"},"message":{"type":"string","minLength":1},"severity":{"type":"string","enum":["INFO","SUCCESS","WARNING","ALERT"],"default":"INFO"},"sendEmail":{"type":"boolean","default":false}},"required":["message"]}"## },
    Fact { name: "list_notifications", hints: "RI", line: "GET /api/notifications", input: r##"{"type":"object","properties":{"onlyUnread":{"type":"boolean","default":false},"limit":{"type":"integer","minimum":1,"maximum":100}}}"## },
    Fact { name: "mark_notification_done", hints: "I", line: "PATCH /api/notifications/", input: r##"{"type":"object","properties":{"notificationId":{"type":"string","minLength":1}},"required":["notificationId"]}"## },
    Fact { name: "delete_notification", hints: "DI", line: "DELETE /api/notifications/", input: r##"{"type":"object","properties":{"notificationId":{"type":"string","minLength":1}},"required":["notificationId"]}"## },
    Fact { name: "create_document", hints: "", line: "POST /api/documents/ai", input: r##"{"type":"object","properties":{"title":{"type":"string","minLength":1,"maxLength":255},"content":{"type":"string","minLength":1},"format":{"type":"string","enum":["md","txt","json","html"],"default":"md"},"tags":{"type":"array","items":{"type":"string"},"maxItems":20},"category":{"type":"string","enum":["report","analysis","documentation","guide","research","code","other"],"default":"other"},"metadata":{"type":"object","properties":{"model":{"type":"object","properties":{"name":{"type":"string"},"provider":{"type":"string"},"version":{"type":"string"}},"required":["name","provider"],"additionalProperties":false},"context":{"type":"string"},"visibility":{"type":"string","enum":["private","workspace","public"],"default":"private"},"prompt":{"type":"string"},"conversationContext":{"type":"array","items":{"type":"string"}},"sourceDocuments":{"type":"array","items":{"type":"string"}},"generationParams":{"type":"object","properties":{"temperature":{"type":"number","minimum":0,"maximum":2},"maxTokens":{"type":"number","exclusiveMinimum":0},"topP":{"type":"number","minimum":0,"maximum":1}},"additionalProperties":false}},"required":["model"],"additionalProperties":false}},"required":["title","content","metadata"],"additionalProperties":false}"## },
    Fact { name: "list_documents", hints: "RI", line: "GET /api/documents", input: r##"{"type":"object","properties":{"filters":{"type":"object","properties":{"source":{"type":"string","enum":["all","upload","ai_generated","api"],"default":"all"},"modelName":{"type":"string"},"modelProvider":{"type":"string"},"dateFrom":{"type":"string","format":"date-time"},"dateTo":{"type":"string","format":"date-time"},"tags":{"type":"array","items":{"type":"string"}},"category":{"type":"string","enum":["report","analysis","documentation","guide","research","code","other"]},"searchQuery":{"type":"string"}},"additionalProperties":false},"sort":{"type":"string","enum":["date_desc","date_asc","title","size"],"default":"date_desc"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":20},"offset":{"type":"integer","minimum":0,"default":0}},"additionalProperties":false}"## },
    Fact { name: "search_documents", hints: "RI", line: "POST /api/documents/search", input: r##"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":500},"filters":{"type":"object","properties":{"modelName":{"type":"string"},"modelProvider":{"type":"string"},"dateFrom":{"type":"string","format":"date-time"},"dateTo":{"type":"string","format":"date-time"},"tags":{"type":"array","items":{"type":"string"}},"source":{"type":"string","enum":["all","upload","ai_generated","api"],"default":"all"}},"additionalProperties":false},"limit":{"type":"integer","minimum":1,"maximum":50,"default":10}},"required":["query"],"additionalProperties":false}"## },
    Fact { name: "get_document", hints: "RI", line: "GET /api/documents/", input: r##"{"type":"object","properties":{"documentId":{"type":"string","format":"uuid"},"includeContent":{"type":"boolean","default":false},"includeVersions":{"type":"boolean","default":false}},"required":["documentId"],"additionalProperties":false}"## },
    Fact { name: "update_document", hints: "", line: "PATCH /api/documents/", input: r##"{"type":"object","properties":{"documentId":{"type":"string","format":"uuid"},"operation":{"type":"string","enum":["replace","append","prepend"]},"content":{"type":"string","minLength":1},"metadata":{"type":"object","properties":{"tags":{"type":"array","items":{"type":"string"}},"changeSummary":{"type":"string"},"updateReason":{"type":"string"},"changesFromPrompt":{"type":"string"},"model":{"type":"object","properties":{"name":{"type":"string"},"provider":{"type":"string"},"version":{"type":"string"}},"required":["name","provider"],"additionalProperties":false}},"required":["model"],"additionalProperties":false}},"required":["documentId","operation","content"],"additionalProperties":false}"## },
    Fact { name: "clipboard_set", hints: "", line: "POST /api/clipboard", input: r##"{"type":"object","properties":{"name":{"type":"string","maxLength":255},"idx":{"type":"integer"},"value":{"type":"string"},"contentType":{"type":"string","pattern":"^[\\w.-]+\\/[\\w.+-]+$","maxLength":256,"default":"text/plain"},"encoding":{"type":"string","enum":["utf-8","base64","hex"],"default":"utf-8"},"visibility":{"type":"string","enum":["private","workspace","public"],"default":"private"},"createdByTool":{"type":"string","maxLength":255},"createdByModel":{"type":"string","maxLength":255},"ttlSeconds":{"type":"integer","exclusiveMinimum":0,"maximum":31536000}},"required":["value"],"additionalProperties":false}"## },
    Fact { name: "clipboard_get", hints: "RI", line: "GET /api/clipboard", input: r##"{"type":"object","properties":{"name":{"type":"string"},"idx":{"type":"integer"},"contentType":{"type":"string"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":50},"offset":{"type":"integer","minimum":0,"default":0}},"additionalProperties":false}"## },
    Fact { name: "clipboard_delete", hints: "DI", line: "DELETE /api/clipboard", input: r##"{"type":"object","properties":{"name":{"type":"string"},"idx":{"type":"integer"},"clearAll":{"type":"boolean","default":false}},"additionalProperties":false}"## },
    Fact { name: "clipboard_list", hints: "RI", line: "GET /api/clipboard", input: r##"{"type":"object","properties":{"contentType":{"type":"string"},"limit":{"type":"integer","minimum":1,"maximum":100,"default":50},"offset":{"type":"integer","minimum":0,"default":0}},"additionalProperties":false}"## },
    Fact { name: "clipboard_push", hints: "", line: "POST /api/clipboard/push", input: r##"{"type":"object","properties":{"value":{"type":"string"},"contentType":{"type":"string","pattern":"^[\\w.-]+\\/[\\w.+-]+$","maxLength":256,"default":"text/plain"},"encoding":{"type":"string","enum":["utf-8","base64","hex"],"default":"utf-8"},"visibility":{"type":"string","enum":["private","workspace","public"],"default":"private"},"createdByTool":{"type":"string","maxLength":255},"createdByModel":{"type":"string","maxLength":255},"ttlSeconds":{"type":"integer","exclusiveMinimum":0,"maximum":31536000}},"required":["value"],"additionalProperties":false}"## },
    Fact { name: "clipboard_pop", hints: "D", line: "POST /api/clipboard/pop", input: r##"{"type":"object","properties":{},"additionalProperties":false}"## },
    Fact { name: "memory_session_start", hints: "", line: "POST /api/memory/sessions", input: r##"{"type":"object","properties":{"content_session_id":{"type":"string","minLength":1},"agent_uuid":{"type":"string","format":"uuid"}},"required":["content_session_id"],"additionalProperties":false}"## },
    Fact { name: "memory_session_end", hints: "", line: "PATCH /api/memory/sessions/", input: r##"{"type":"object","properties":{"memory_session_id":{"type":"string","minLength":1,"pattern":"^[a-zA-Z0-9_-]+$"}},"required":["memory_session_id"],"additionalProperties":false}"## },
    Fact { name: "memory_observe", hints: "", line: "POST /api/memory/sessions/", input: r##"{"type":"object","properties":{"session_uuid":{"type":"string","format":"uuid"},"type":{"type":"string","enum":["tool_call","tool_result","user_preference","error_pattern","decision","success_pattern","failure_pattern","workflow_step","insight","context_switch"]},"content":{"type":"string","minLength":1,"maxLength":50000},"outcome":{"type":"string","enum":["success","failure","neutral"]},"metadata":{"type":"object","additionalProperties":{}}},"required":["session_uuid","type","content"],"additionalProperties":false}"## },
    Fact { name: "memory_search", hints: "RI", line: "POST /api/memory/search", input: r##"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":1000},"ring_types":{"type":"array","items":{"type":"string","enum":["procedures","practice","longterm","shocks"]}},"agent_uuid":{"type":"string","format":"uuid"},"top_k":{"type":"integer","minimum":1,"maximum":50,"default":10},"include_gut":{"type":"boolean","default":false}},"required":["query"],"additionalProperties":false}"## },
    Fact { name: "memory_details", hints: "RI", line: "POST /api/memory/search/details", input: r##"{"type":"object","properties":{"memory_uuids":{"type":"array","items":{"type":"string","format":"uuid"},"minItems":1,"maxItems":20}},"required":["memory_uuids"],"additionalProperties":false}"## },
    Fact { name: "cbp_query", hints: "R", line: "GET /api/memory/cbp", input: r##"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":2000},"context":{"type":"string","enum":["proactive_warning","post_error","contextual"],"default":"contextual"},"tool_name":{"type":"string","maxLength":200},"error_message":{"type":"string","maxLength":1000}},"required":["query"],"additionalProperties":false}"## },
    Fact { name: "cbp_feedback", hints: "", line: "POST /api/memory/cbp/feedback", input: r##"{"type":"object","properties":{"pattern_uuid":{"type":"string","format":"uuid"},"rating":{"type":"integer","minimum":1,"maximum":5},"feedback_type":{"type":"string","enum":["helpful","inaccurate","outdated","dangerous"]},"comment":{"type":"string","maxLength":1000}},"required":["pattern_uuid","rating","feedback_type"],"additionalProperties":false}"## },
    Fact { name: "memory_search_with_context", hints: "R", line: "POST /api/memory/archetype/inject", input: r##"{"type":"object","properties":{"query":{"type":"string","minLength":1,"maxLength":2000},"tool_name":{"type":"string","maxLength":200},"outcome":{"type":"string","enum":["success","failure","neutral"]},"include_archetypes":{"type":"boolean","default":true}},"required":["query"],"additionalProperties":false}"## },
    Fact { name: "memory_individuation", hints: "RI", line: "GET /api/memory/individuation", input: r##"{"type":"object","properties":{},"additionalProperties":false}"## },
];

impl Fact {
    pub(super) fn full_name(&self) -> String {
        format!("pluggedin_{}", self.name)
    }

    pub(super) fn input(&self) -> Value {
        serde_json::from_str(self.input).expect("it is JSON")
    }

    /// Whether a tool reads and does nothing else.
    pub(super) fn reads(&self) -> bool {
        self.hints.contains('R')
    }

    pub(super) fn asks_a_service(&self) -> bool {
        !self.line.is_empty()
    }
}

/// The tools that ask a service of the App.
pub(super) fn services() -> impl Iterator<Item = &'static Fact> {
    TOOLS.iter().filter(|fact| fact.asks_a_service())
}

/// Arguments with which a tool works in a stocked workspace.
pub(super) fn arguments(tool: &str, ids: &Ids) -> Value {
    let model = json!({"name": "some-model", "provider": "acme"});
    match tool {
        "ask_knowledge_base" => json!({"query": "How do I rotate keys?"}),
        "send_notification" => json!({"message": "Deployment completed"}),
        "mark_notification_done" | "delete_notification" => json!({"notificationId": ids.notification}),
        "create_document" => json!({"title": "Notes", "content": "# Hello", "metadata": {"model": model}}),
        "search_documents" => json!({"query": "release"}),
        "get_document" => json!({"documentId": ids.document}),
        "update_document" => json!({"documentId": ids.document, "operation": "append", "content": "More"}),
        "clipboard_set" => json!({"name": "other", "value": "world"}),
        "clipboard_get" | "clipboard_delete" => json!({"name": "ctx"}),
        "clipboard_push" => json!({"value": "step two"}),
        "memory_session_start" => json!({"content_session_id": "chat-43"}),
        "memory_session_end" => json!({"memory_session_id": ids.memory_session}),
        "memory_observe" => json!({"session_uuid": ids.session, "type": "insight", "content": "Retry after 429 works"}),
        "memory_search" => json!({"query": "deploy"}),
        "memory_details" => json!({"memory_uuids": [ids.memory]}),
        "cbp_query" | "memory_search_with_context" => json!({"query": "build fails"}),
        "cbp_feedback" => json!({"pattern_uuid": ids.pattern, "rating": 5, "feedback_type": "helpful"}),
        _ => json!({}),
    }
}
