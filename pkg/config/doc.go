// Package config turns a TOML file, GOFORK_* variables and command-line settings
// into one [Config]: a value with every default applied, every name looked up and
// every file read, which nobody changes afterwards. A reload is therefore
// load, [Diff], apply; a half-applied configuration cannot be expressed.
//
// # Layers
//
// Later wins: built-in defaults, the file, the environment, the command line.
// Tables merge key by key over the layers; arrays and values are replaced.
//
// A variable GOFORK_TABLE__KEY sets table.key: "__" separates, names are lower-cased.
// What stands behind ENV__ is the name of a variable and is taken as it is
// (GOFORK_WORKER__ENV__LANG). A variable name cannot contain "-", so
// GOFORK_COMPANION__RQ_DEFAULT__NUMPROCS means the companion of the file whose name
// is rq_default when "-" counts as "_" and case does not, and creates rq_default when
// there is none. Of the variables without "__" only GOFORK_NAME is configuration: all
// others are how gofork talks to its own processes and hooks. PORT and WEB_CONCURRENCY
// count when there is a [worker] table and their key is set nowhere else.
//
// The value of a variable or of --set is a TOML value if it parses as one
// (4, true, ["a", "b"], "text"), else a string. Where a string is wanted it is one
// anyway: GOFORK_NAME=7 is the name "7".
//
// # Values
//
// ${VAR} and ${VAR:-default} (when unset or empty) are expanded from gofork's own
// environment in env values, paths, cwd, unix socket addresses, and command words,
// after a command string was split, so that a value never becomes two words. $${ is a
// literal ${. A variable that is not set and has no default is an error. Env files
// are dotenv files; in their values, but for those in single quotes, the same is expanded,
// from the lines above before the environment, and $VAR is not.
//
// Relative paths (env_file, hash_files, stdout and stderr, pidfile, runtime_dir,
// sockets, token_file, TLS files, cwd, log.file) start at server.chdir when it is set,
// else where gofork was started, never at the file's own folder. The words of a command
// stay as they are written.
//
// A child's environment is, later wins: gofork's own, server.env_file, server.env,
// the child's env_file, the child's env. A companion's keys replace those of
// companion_defaults; the tables env, options and rlimits merge name by name.
//
// # Errors
//
// Load reports everything that is wrong at once, as [Problems]. Invariants:
//
//   - The error names the layer, the line where there is one, the dotted key, the value,
//     and the rule, and for an unknown key the nearest known one. Values of environment
//     variables for children are never shown, nor what may be one in the wrong place.
//   - A key that the file has and this package does not know is an error, so no setting is
//     ever ignored without a word.
//   - [Keys] is the only list of keys: reading, checking, and defaults go through it.
package config
