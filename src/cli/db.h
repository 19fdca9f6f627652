/* `edgeproxy db init FILE`: a routing database to start with. */
#ifndef CLI_DB_H
#define CLI_DB_H

/* argv[0] is the command's own name, "db". The exit status: 0; 1 (the file is there already, or
 * cannot be written); 2 (the arguments are wrong). */
int db_main(int argc, char **argv);

#endif
