"""The server as OpenAI's own Python package and LangChain's meet it.

Usage: openai_client.py http://127.0.0.1:PORT [KEY]

The server must hold `examples/handbook` and write with a model.
"""

import sys

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

QUESTION = "How many days of remote work are allowed per week?"


def main(url: str, key: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    models(client)
    whole(client)
    streamed(client)
    alone(client)
    embeddings(client)
    errors(client, url, key)
    langchain(url, key)
    print("ok   the official clients understand the server")


def models(client: openai.OpenAI) -> None:
    ids = [it.id for it in client.models.list()]
    assert "rag" in ids and "base" in ids, ids
    assert client.models.retrieve("rag").id == "rag"


def whole(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="rag", messages=[{"role": "user", "content": QUESTION}]
    )
    message = answer.choices[0].message
    assert "three days" in message.content, message.content
    assert message.annotations[0].type == "url_citation"
    citation = message.annotations[0].url_citation
    assert message.content[citation.start_index : citation.end_index] == "[1]"
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert message.tool_calls is None


def streamed(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="rag",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, finish, usage, annotations = "", None, None, []
    for chunk in stream:
        # Told in the last chunk; in those before it is null.
        assert "usage" in chunk.model_fields_set and usage is None
        usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            annotations += getattr(choice.delta, "annotations", None) or []
    assert "three days" in text and finish == "stop" and usage.total_tokens > 0
    # Over a mark of the text, or over the sentence of which the writer left the mark out.
    assert annotations, text
    for it in annotations:
        assert it["type"] == "url_citation", it
        citation = it["url_citation"]
        assert citation["url"].startswith("http"), citation
        assert text[citation["start_index"] : citation["end_index"]].strip(), (citation, text)


def alone(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="base",
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=1,
    )
    assert answer.usage.completion_tokens <= 8
    assert answer.choices[0].logprobs.content[0].top_logprobs


def embeddings(client: openai.OpenAI) -> None:
    # The package asks for base64 by itself and decodes it.
    found = client.embeddings.create(model="all-minilm-l6-v2", input=["a cat", "a dog"])
    assert len(found.data) == 2 and len(found.data[0].embedding) == 384
    assert abs(sum(x * x for x in found.data[1].embedding) - 1) < 1e-3
    try:
        client.embeddings.create(model="all-minilm-l6-v2", input=[[17, 4], [3]])
        raise AssertionError("tokens of another tokenizer must be refused")
    except openai.BadRequestError as error:
        assert error.param == "input" and "check_embedding_ctx_length" in error.message, error


def errors(client: openai.OpenAI, url: str, key: str) -> None:
    try:
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "?"}])
        raise AssertionError("an unknown model must be refused")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    try:
        client.chat.completions.create(
            model="rag", messages=[{"role": "user", "content": "?"}], n=2
        )
        raise AssertionError("two answers must be refused")
    except openai.BadRequestError as error:
        assert error.param == "n", error
    try:
        client.chat.completions.create(
            model="rag",
            messages=[{"role": "user", "content": "?"}],
            response_format={"type": "json_object"},
        )
        raise AssertionError("an answer from the documents is no JSON")
    except openai.BadRequestError as error:
        assert error.param == "response_format", error
    if key != "none":
        try:
            openai.OpenAI(base_url=f"{url}/v1", api_key="sfl_wrong", max_retries=0).models.list()
            raise AssertionError("a wrong key must be refused")
        except openai.AuthenticationError:
            pass


def langchain(url: str, key: str) -> None:
    model = ChatOpenAI(model="rag", base_url=f"{url}/v1", api_key=key, max_retries=0)
    assert "three days" in model.invoke(QUESTION).content
    assert "three days" in "".join(it.content for it in model.stream(QUESTION))
    embedder = OpenAIEmbeddings(
        model="all-minilm-l6-v2",
        base_url=f"{url}/v1",
        api_key=key,
        # Texts instead of the ids of another tokenizer.
        check_embedding_ctx_length=False,
    )
    assert len(embedder.embed_query("a cat")) == 384


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2] if len(sys.argv) > 2 else "none")
