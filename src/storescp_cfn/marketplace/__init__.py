"""From a git tag to a version on AWS Marketplace: package, check, publish, launch."""
