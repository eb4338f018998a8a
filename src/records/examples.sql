-- Few-shot examples that were made of answers, by the paths of their files. No foreign key: a row must
-- outlast its answer, so that the file is found and removed.
CREATE TABLE examples (
    path TEXT PRIMARY KEY,
    answer TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO examples
    SELECT detail, object FROM audit
    WHERE action = 'feedback.promote' AND detail IS NOT NULL AND object IS NOT NULL;
