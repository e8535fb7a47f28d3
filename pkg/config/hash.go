package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"syscall"
	"time"
)

// canonical is what a companion's hash is taken over. A hash that changes restarts the
// companion, so this must give the same bytes in every release: a new field is left
// out while it has its old meaning (omitzero), and no field is renamed or moved.
// encoding/json sorts map keys.
type canonical struct {
	Name              string            `json:"name"`
	Command           []string          `json:"command,omitempty"`
	Target            string            `json:"target,omitzero"`
	Options           map[string]any    `json:"options,omitempty"`
	Cwd               string            `json:"cwd,omitzero"`
	Env               map[string]string `json:"env,omitempty"`
	Umask             Umask             `json:"umask"`
	Credential        *canonicalUser    `json:"credential,omitempty"`
	NoNewPrivs        bool              `json:"no_new_privs,omitzero"`
	Nice              int               `json:"nice,omitzero"`
	OOMScoreAdj       int               `json:"oom_score_adj,omitzero"`
	Rlimits           []canonicalLimit  `json:"rlimits,omitempty"`
	MaxMemory         int64             `json:"max_memory,omitzero"`
	MaxLifetime       time.Duration     `json:"max_lifetime,omitzero"`
	MaxLifetimeJitter time.Duration     `json:"max_lifetime_jitter,omitzero"`
	Stdout            string            `json:"stdout"`
	Stderr            string            `json:"stderr"`
	Autorestart       Autorestart       `json:"autorestart"`
	SuccessCodes      []int             `json:"success_codes,omitempty"`
	Startsecs         time.Duration     `json:"startsecs"`
	Startretries      int               `json:"startretries,omitzero"`
	BackoffInitial    time.Duration     `json:"backoff_initial"`
	BackoffMax        time.Duration     `json:"backoff_max"`
	BackoffJitter     float64           `json:"backoff_jitter,omitzero"`
	BackoffReset      time.Duration     `json:"backoff_reset"`
	StopSignal        syscall.Signal    `json:"stop_signal"`
	StopTimeout       time.Duration     `json:"stop_timeout"`
	ReloadTimeout     time.Duration     `json:"reload_timeout"`
	StopGroup         bool              `json:"stop_group,omitzero"`
	Essential         bool              `json:"essential,omitzero"`
	ReloadRestart     bool              `json:"reload_restart,omitzero"`
	ReloadSignal      syscall.Signal    `json:"reload_signal,omitzero"`
	HashFiles         []canonicalFile   `json:"hash_files,omitempty"`
	LogMaxSize        int64             `json:"log_max_size,omitzero"`
	LogBackups        int               `json:"log_backups"`
}

type canonicalUser struct {
	User   string   `json:"user,omitzero"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Home   string   `json:"home,omitzero"`
	Login  string   `json:"login,omitzero"`
}

type canonicalLimit struct {
	Name string `json:"name"`
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

type canonicalFile struct {
	Path string `json:"path"`
	Sum  string `json:"sum"`
}

// hashOf computes Companion.Hash.
func hashOf(c *Companion) string {
	v := canonical{
		Name: c.Name, Command: c.Command, Target: c.Target, Options: c.Options, Cwd: c.Cwd, Env: c.Env,
		Umask: c.Umask, NoNewPrivs: c.NoNewPrivs, Nice: c.Nice, OOMScoreAdj: c.OOMScoreAdj,
		MaxMemory: c.MaxMemory, MaxLifetime: c.MaxLifetime, MaxLifetimeJitter: c.MaxLifetimeJitter,
		Stdout: c.Stdout, Stderr: c.Stderr, Autorestart: c.Autorestart, SuccessCodes: c.SuccessCodes,
		Startsecs: c.Startsecs, Startretries: c.Startretries, BackoffInitial: c.BackoffInitial,
		BackoffMax: c.BackoffMax, BackoffJitter: c.BackoffJitter, BackoffReset: c.BackoffReset,
		StopSignal: c.StopSignal, StopTimeout: c.StopTimeout, ReloadTimeout: c.ReloadTimeout,
		StopGroup: c.StopGroup, Essential: c.Essential, ReloadRestart: c.OnReload.Restart,
		ReloadSignal: c.OnReload.Signal, LogMaxSize: c.LogMaxSize, LogBackups: c.LogBackups,
	}
	if u := c.Credential; u != nil {
		v.Credential = &canonicalUser{User: u.User, UID: u.UID, GID: u.GID, Groups: u.Groups, Home: u.Home, Login: u.Login}
	}
	for _, r := range c.Rlimits {
		v.Rlimits = append(v.Rlimits, canonicalLimit{r.Name, r.Soft, r.Hard})
	}
	for _, f := range c.HashFiles {
		v.HashFiles = append(v.HashFiles, canonicalFile(f))
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic("config: a companion cannot be encoded: " + err.Error()) // options are checked when read
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:12]
}
