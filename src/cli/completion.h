/* `edgeproxy completion bash|zsh|fish`: what a shell needs to complete these commands. */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

/* argv[0] is the command's own name. The exit status: 0; 2 (the arguments are wrong). */
int completion_main(int argc, char **argv);
/* `edgeproxy __ids`: the ids of backends, a line each, for those scripts. Says nothing where no
 * proxy answers. */
int completion_ids_main(int argc, char **argv);

#endif
