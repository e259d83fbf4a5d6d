"""What can be wrong with certificates, passphrases and tokens. None of the texts shows anything of a secret."""

from __future__ import annotations

from asa.errors import AgentError, BadRequest, Conflict


class BadIdentity(AgentError):
    """A certificate, key or trust anchor that is not taken; ``details["problems"]`` lists every reason."""

    code = "bad-identity"
    status = 400


class BadFile(BadRequest):
    """A file that is not what it is given for."""

    code = "bad-file"


class WrongPassphrase(AgentError):
    code = "wrong-passphrase"
    status = 403


class NameTaken(Conflict):
    """There is a certificate of that name, or an address is another node's."""

    code = "name-taken"


class Revoked(Conflict):
    """The certificate was revoked: it is not renewed."""

    code = "revoked"


class BadToken(BadRequest):
    """The token of an invitation that cannot be read."""

    code = "bad-token"


class NotInvited(AgentError):
    """The invitation ended without the node having joined."""

    code = "not-joined"


class JoinRefused(AgentError):
    """The node cannot join: nobody there, not who the token was made by, or the token is not taken."""

    code = "join-refused"
