"""Conversations as transformers renders them, by templates that use what published ones use."""
import datetime
import itertools
import json
import pathlib
import unittest.mock

import jinja2
import transformers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 3, 7, 9, 5)
PLAIN = [{"role": "user", "content": "Où est le formulaire ? <b>&amp;"}]
SYSTEM = [{"role": "system", "content": " Answer briefly. "}] + PLAIN
TURNS = SYSTEM + [{"role": "assistant", "content": "  On the intranet.\n"},
                  {"role": "user", "content": "And the \"old\" one?\n"}]
THOUGHT = SYSTEM + [{"role": "assistant", "content": "<think>\nHe asks for a form.\n</think>\n\nOn the intranet."},
                    {"role": "user", "content": "Thanks."},
                    {"role": "assistant", "content": "Welcome.", "reasoning_content": "Polite."}]
CALL = {"type": "function", "id": "abc123def",
        "function": {"name": "find_form", "arguments": {"name": "congés", "year": 2026, "ratio": 0.5, "old": False,
                                                        "tags": ["rh", None]}}}
CALLED = SYSTEM + [{"role": "assistant", "content": "", "tool_calls": [CALL]},
                   {"role": "tool", "content": "{\"url\": \"https://intranet.example/f?a=1&b=2\"}"}]
TWICE = PLAIN + [{"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
                 {"role": "tool", "content": "one"}, {"role": "tool", "content": "two"},
                 {"role": "assistant", "content": "Two forms."}, {"role": "user", "content": "Which?"}]
TOOLS = [{"type": "function", "function": {
    "name": "find_form", "description": "Finds a form, \"old\" ones too: l'été <i>.",
    "parameters": {"type": "object", "properties": {"name": {"type": "string", "description": "Its name"},
                                                    "year": {"type": "integer", "minimum": 1.5e-7}},
                   "required": ["name"]}}},
         {"type": "function", "function": {"name": "a_second", "description": "Does nothing",
                                           "parameters": {"type": "object", "properties": {}}}}]
DOCUMENTS = [{"title": "Guide", "text": " First\nline "}, {"title": "Secret", "text": "x", "hidden": True},
             {"title": "Annexe é", "text": "Two"}, {"title": "Last", "text": "Three"}]

CONVERSATIONS = {"plain": PLAIN, "system": SYSTEM, "turns": TURNS, "thought": THOUGHT, "called": CALLED,
                 "twice": TWICE, "uneven": TURNS[:2] + TURNS[1:]}

cases = []
for name, messages, tools in itertools.product(
        ["chatml", "tools", "thinking", "headers", "inst", "odds"], CONVERSATIONS, [False, True]):
    if tools and name in ("chatml", "odds"):
        continue
    for thinking in (None, False, True) if name == "thinking" else (None,):
        for documents in (False, True) if name == "odds" else (False,):
            cases.append({"template": name, "messages": messages, "tools": tools, "documents": documents,
                          "enable_thinking": thinking,
                          "add_generation_prompt": CONVERSATIONS[messages][-1]["role"] != "assistant"})

with unittest.mock.patch.object(chat_template_utils, "datetime") as clock:
    clock.now.return_value = NOW
    for case in cases:
        source = (HERE / "templates" / f"{case['template']}.jinja").read_text()
        extra = {} if case["enable_thinking"] is None else {"enable_thinking": case["enable_thinking"]}
        try:
            texts, _ = chat_template_utils.render_jinja_template(
                conversations=[CONVERSATIONS[case["messages"]]], chat_template=source,
                tools=TOOLS if case["tools"] else None, documents=DOCUMENTS if case["documents"] else None,
                add_generation_prompt=case["add_generation_prompt"], bos_token="<s>", eos_token="</s>", **extra)
            case["text"] = texts[0]
        except jinja2.exceptions.TemplateError as error:
            case["refusal"] = str(error)
golden = {"made_with": {"transformers": transformers.__version__, "jinja2": jinja2.__version__},
          "now": NOW.isoformat(), "conversations": CONVERSATIONS, "tools": TOOLS, "documents": DOCUMENTS,
          "cases": cases}
(HERE / "chat.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
