package proc

// Self is the running executable as a path to start it again by, whatever became
// of its file: replaced, deleted, or out of the reach of a child's user.
const Self = "/proc/self/exe"
