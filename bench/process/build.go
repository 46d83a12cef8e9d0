package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Root walks up to the module this command belongs to.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "bench", "floor")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no bench/floor above the working directory: run it inside the repository")
		}
		dir = parent
	}
}

// Results is where reports of today go in root.
func Results(root string) string {
	return filepath.Join(root, "bench", "results", time.Now().Format("2006-01-02"))
}

// Revision is the commit that is checked out in root.
func Revision(root string) string {
	cmd := exec.Command("git", "describe", "--always", "--dirty")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "working tree"
	}
	return strings.TrimSpace(string(out))
}

// Build compiles a command of the module in dir.
func Build(dir, bin, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
