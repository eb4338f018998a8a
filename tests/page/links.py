"""The mock's preferences, its chat tool, and the links below that tool's answers."""

import json
import re


class LinkRoutes:
    """Answers of the mock; a part of its handler."""

    def prefer(self):
        body = json.loads(self.body)
        if any(it not in self.world.answers for it in [body["best"], *body["others"]]):
            self.fail(404, "there is no answer of yours", "not_found_error")
            return
        self.world.preferences.append(body)
        self.reply({"recorded": True, "best": body["best"], "others": body["others"]}, 201)

    def mattermost(self):
        question = re.sub(r"^docs:\s*", "", json.loads(self.body)["text"])
        answer = self.world.answer({"question": question})
        link = f"{answer['id']}.1795000000.{'0' * 64}"
        self.world.links[link] = answer
        url = f"http://{self.headers['Host']}/judge#{link}"
        self.reply({"text": f"{answer['answer']}\n\n[Dire ce qui ne va pas]({url})"})

    def linked(self):
        """The answer of a link, or none and a refusal."""
        link = json.loads(self.body)["link"]
        if link == "ended":
            self.fail(410, "this link has ended", "invalid_request_error", code="link_ended")
        elif link not in self.world.links:
            self.fail(404, "this link leads to no answer", "not_found_error")
        return self.world.links.get(link)

    def linked_answer(self):
        answer = self.linked()
        if answer is None:
            return
        cited = {n for it in answer["sentences"] for n in it["citations"]}
        self.reply({
            **{key: answer[key] for key in ("question", "answer", "language", "refused")},
            "sentences": [
                {key: it[key] for key in ("text", "verdict", "citations")}
                for it in answer["sentences"]
            ],
            "sources": [
                {"index": it["index"], "title": it["title"], "url": it["url"],
                 "heading": it["heading"].split(" > ")[-1]}
                for it in answer["sources"] if it["index"] in cited
            ],
        })

    def linked_feedback(self):
        answer = self.linked()
        if answer is not None:
            body = json.loads(self.body)
            self.world.feedback[answer["id"]] = {**body, "answer": answer["id"]}
            self.reply({"recorded": True}, 201)


ROUTES = [
    ("POST", "/v1/preferences", "prefer"),
    ("POST", "/integrations/mattermost/webhook", "mattermost"),
    ("POST", "/v1/links/answer", "linked_answer"),
    ("POST", "/v1/links/feedback", "linked_feedback"),
]
