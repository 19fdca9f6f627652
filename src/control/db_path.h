/* A path as SQLite is given it. Any thread. */
#ifndef CONTROL_DB_PATH_H
#define CONTROL_DB_PATH_H

/* malloc'd: the same file, in words that never look like ":memory:" or a URI. NULL: out of memory.
 */
char *db_path_new(const char *path);

#endif
