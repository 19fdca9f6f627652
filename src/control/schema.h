/* The schema of a routing database, as SQL. Static; any thread. */
#ifndef CONTROL_SCHEMA_H
#define CONTROL_SCHEMA_H

/* The seed's table of backends with a key that is NOT NULL, and the optional tables. */
extern const char schema_sql[];
/* Adds the optional columns of backends. They are not part of the above, so that an INSERT with the
 * seed's ten values goes on working. */
extern const char schema_optional_sql[];

#endif
