"""Who is behind a token: join tokens, and Kubernetes' by an API server that is played here."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ca_requests import NOW
from lateen.ca import authenticators
from lateen.ca.authenticators import JoinTokens, TokenReviews
from lateen.ca.tokens import Tokens
from lateen.ca.values import Grant, Reason, Refused

HOUR = dt.timedelta(hours=1)


def jwt(claims: Mapping[str, object]) -> str:
    parts = (json.dumps({"alg": "RS256"}), json.dumps(claims), "signature")
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


KUBERNETES = jwt({"iss": "https://kubernetes.default.svc", "kubernetes.io": {"namespace": "default"}})


class ApiServer:
    """Answers reviews with what it is told to."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[Mapping[str, object]] = []

    async def post(self, review: Mapping[str, object]) -> object:
        self.asked.append(review)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def reviewed(name: object = "system:serviceaccount:default:reviews", **status: object) -> dict[str, object]:
    return {
        "status": {"authenticated": True, "user": {"username": name}, "audiences": ["istio-ca"], **status},
    }


async def test_a_join_token_is_taken_once_or_often(tmp_path: Path) -> None:
    tokens = Tokens.open(tmp_path, "cluster.local")
    once, often = (tokens.create_join("default", "reviews", now=NOW, ttl=HOUR, once=once)[0] for once in (True, False))
    authenticator = JoinTokens(tokens)

    answers = [await authenticator.authenticate(token, NOW) for token in (once, once, often, often)]
    assert [type(answer) for answer in answers] == [Grant, Refused, Grant, Grant]


async def test_tokens_that_cannot_be_used_up_are_not_taken(tmp_path: Path) -> None:
    """A full or broken disk must not make a token for one use one for many."""
    tokens = Tokens.open(tmp_path, "cluster.local")
    token, _ = tokens.create_join("default", "reviews", now=NOW, ttl=HOUR, once=True)
    (tmp_path / "tokens.json").write_text("broken")
    refused = await JoinTokens(tokens).authenticate(token, NOW)

    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("token", ["", "x", KUBERNETES, jwt({}), jwt({"iss": ["lateen"]})])
async def test_a_token_of_another_kind_is_left_to_others(token: str) -> None:
    assert await JoinTokens(Tokens.open(None, "cluster.local")).authenticate(token, NOW) is None


async def test_a_service_account_of_kubernetes_becomes_its_identity() -> None:
    server = ApiServer(reviewed())
    grant = await TokenReviews(server.post).authenticate(KUBERNETES, NOW)

    assert isinstance(grant, Grant)
    assert (grant.namespace, grant.service_account, grant.names_one) == ("default", "reviews", True)
    assert server.asked == [
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": KUBERNETES, "audiences": ["istio-ca"]},
        }
    ]


async def test_what_is_not_of_kubernetes_is_not_sent_to_it() -> None:
    """A join token would be shown to the API server."""
    server = ApiServer(reviewed())
    token, _ = Tokens.open(None, "cluster.local").create_join("default", "reviews", now=NOW, ttl=HOUR)

    assert await TokenReviews(server.post).authenticate(token, NOW) is None
    assert await TokenReviews(server.post).authenticate("x", NOW) is None
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": {"authenticated": False, "error": "expired"}}, Reason.UNPROVEN),
        ({"status": {}}, Reason.UNPROVEN),
        ({"kind": "Status", "status": "Failure"}, Reason.UNPROVEN),
        (None, Reason.UNPROVEN),
        ([], Reason.UNPROVEN),
        (reviewed(authenticated="true"), Reason.UNPROVEN),
        (reviewed(audiences=["other"]), Reason.UNPROVEN),
        (reviewed(audiences=[]), Reason.UNPROVEN),
        (reviewed(audiences=None), Reason.UNPROVEN),
        (reviewed(audiences=[{}]), Reason.UNPROVEN),
        (reviewed(5), Reason.UNPROVEN),
        (reviewed("system:node:one"), Reason.DENIED),
        (reviewed("system:serviceaccount:default"), Reason.DENIED),
        (reviewed("system:serviceaccount:default:"), Reason.DENIED),
        (reviewed("system:serviceaccount:a:b:c"), Reason.DENIED),
        (reviewed("system:serviceaccount:*:*"), Reason.DENIED),
        (OSError("no route"), Reason.UNAVAILABLE),
        (TimeoutError(), Reason.UNAVAILABLE),
    ],
    ids=str,
)
async def test_what_the_api_server_does_not_confirm_is_refused(answer: object, reason: Reason) -> None:
    refused = await TokenReviews(ApiServer(answer).post).authenticate(KUBERNETES, NOW)

    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert KUBERNETES not in refused.message


async def test_an_api_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def post(_review: Mapping[str, object]) -> object:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(authenticators, "REVIEW_SECONDS", 0.01)
    refused = await TokenReviews(post).authenticate(KUBERNETES, NOW)

    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNAVAILABLE
