CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- SHA-256 of the key.
    hash BLOB NOT NULL UNIQUE,
    scope TEXT NOT NULL,
    -- JSON list.
    groups TEXT NOT NULL,
    created INTEGER NOT NULL,
    revoked INTEGER
) STRICT;

-- Browsers that gave a key.
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    key TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    key TEXT,
    action TEXT NOT NULL,
    object TEXT,
    detail TEXT,
    request TEXT
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit record only grows'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit record only grows'); END;

CREATE TABLE conversations (
    id TEXT PRIMARY KEY,
    -- The key that asked; empty where none was needed.
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_by_owner ON conversations (owner, updated);

CREATE TABLE answers (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    conversation TEXT REFERENCES conversations (id) ON DELETE CASCADE,
    question TEXT NOT NULL,
    understood_as TEXT,
    text TEXT NOT NULL,
    -- As `POST /v1/ask` gave it.
    json TEXT NOT NULL,
    -- The prompt and what was cut.
    why TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_by_conversation ON answers (conversation, created);

-- Which documents stand in an answer, so that forgetting one takes the answer with it.
CREATE TABLE answer_documents (
    answer TEXT NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    document INTEGER NOT NULL,
    PRIMARY KEY (answer, document)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_documents_by_document ON answer_documents (document);

CREATE TABLE feedback (
    answer TEXT PRIMARY KEY REFERENCES answers (id) ON DELETE CASCADE,
    rating TEXT NOT NULL,
    reason TEXT,
    correction TEXT,
    -- JSON object.
    labels TEXT NOT NULL,
    comment TEXT,
    given_by TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Files that the last ingestion left aside.
CREATE TABLE skipped (
    path TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
