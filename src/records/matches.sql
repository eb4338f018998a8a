-- Two answers to one question, side by side. `choice` is null until somebody has chosen.
CREATE TABLE matches (
    id TEXT PRIMARY KEY,
    -- Who asked, and alone may choose.
    owner TEXT NOT NULL,
    question TEXT NOT NULL,
    left_answer TEXT NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    right_answer TEXT NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    -- Which variants wrote them; null where somebody compared answers that they were given.
    left_arm TEXT,
    right_arm TEXT,
    choice TEXT,
    reason TEXT,
    -- When it was opened, and chosen.
    created INTEGER NOT NULL,
    chosen INTEGER
) STRICT;
CREATE INDEX matches_by_left ON matches (left_answer);
CREATE INDEX matches_by_right ON matches (right_answer);
