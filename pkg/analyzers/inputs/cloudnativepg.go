// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import "k8s.io/apimachinery/pkg/runtime/schema"

// PostgresClusters of CloudNativePG, where it is installed: in which phase they
// are, who is the primary, and how many instances are ready. How they are set up,
// and what the status repeats of that, is read by nobody.
var PostgresClusters = NewCustom(
	schema.GroupVersionResource{Group: "postgresql.cnpg.io", Version: "v1", Resource: "clusters"},
	CustomOptions{Without: [][]string{
		{"spec", "bootstrap"}, {"spec", "postgresql"}, {"spec", "managed"}, {"spec", "monitoring"}, {"spec", "backup"}, {"spec", "externalClusters"},
		{"spec", "storage"}, {"spec", "walStorage"}, {"spec", "tablespaces"}, {"spec", "affinity"}, {"spec", "env"}, {"spec", "plugins"},
		{"status", "instancesReportedState"}, {"status", "managedRolesStatus"}, {"status", "tablespacesStatus"}, {"status", "topology"},
		{"status", "certificates"}, {"status", "secretsResourceVersion"}, {"status", "configMapResourceVersion"},
		{"status", "poolerIntegrations"}, {"status", "pluginStatus"}, {"status", "availableArchitectures"},
		{"status", "healthyPVC"}, {"status", "firstRecoverabilityPointByMethod"}, {"status", "lastSuccessfulBackupByMethod"},
	}},
)
