"""What CloudFormation does with the caller's rights to create, read, update and delete a resource of each type.

Registry schemas ("handlers" of each type) and the service authorization reference; a table, and nothing else.
"""

from __future__ import annotations

# Resource type: what creating, reading, updating and deleting it takes. Prefix and actions of one service each.
ACTIONS_OF_TYPE: dict[str, dict[str, str]] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": {
        "application-autoscaling": "RegisterScalableTarget DeregisterScalableTarget DescribeScalableTargets "
        "TagResource",
    },
    "AWS::ApplicationAutoScaling::ScalingPolicy": {
        "application-autoscaling": "PutScalingPolicy DeleteScalingPolicy DescribeScalingPolicies",
    },
    "AWS::CloudFormation::CustomResource": {"lambda": "InvokeFunction"},
    "AWS::CloudWatch::Alarm": {
        "cloudwatch": "PutMetricAlarm DeleteAlarms DescribeAlarms TagResource UntagResource ListTagsForResource",
    },
    "AWS::CloudWatch::Dashboard": {"cloudwatch": "PutDashboard GetDashboard DeleteDashboards"},
    "AWS::DynamoDB::Table": {
        "dynamodb": "CreateTable DescribeTable UpdateTable DeleteTable DescribeContinuousBackups "
        "UpdateContinuousBackups DescribeTimeToLive UpdateTimeToLive TagResource UntagResource ListTagsOfResource "
        "DescribeContributorInsights DescribeKinesisStreamingDestination GetResourcePolicy",
    },
    "AWS::EC2::SecurityGroup": {
        "ec2": "CreateSecurityGroup DeleteSecurityGroup DescribeSecurityGroups AuthorizeSecurityGroupIngress "
        "AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress RevokeSecurityGroupEgress CreateTags DescribeVpcs "
        "DescribeTags",
    },
    "AWS::EC2::SecurityGroupIngress": {
        "ec2": "AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress DescribeSecurityGroups "
        "DescribeSecurityGroupRules ModifySecurityGroupRules UpdateSecurityGroupRuleDescriptionsIngress",
    },
    "AWS::EC2::SecurityGroupEgress": {
        "ec2": "AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress DescribeSecurityGroups "
        "DescribeSecurityGroupRules ModifySecurityGroupRules UpdateSecurityGroupRuleDescriptionsEgress",
    },
    "AWS::EC2::VPCEndpoint": {
        "ec2": "CreateVpcEndpoint DeleteVpcEndpoints DescribeVpcEndpoints ModifyVpcEndpoint CreateTags",
    },
    "AWS::ECS::Cluster": {
        "ecs": "CreateCluster DeleteCluster DescribeClusters UpdateCluster UpdateClusterSettings "
        "PutClusterCapacityProviders TagResource",
        "iam": "CreateServiceLinkedRole",
    },
    "AWS::ECS::ClusterCapacityProviderAssociations": {"ecs": "PutClusterCapacityProviders DescribeClusters"},
    "AWS::ECS::Service": {
        "ecs": "CreateService DeleteService DescribeServices UpdateService TagResource ListServiceDeployments "
        "DescribeServiceDeployments DescribeServiceRevisions",
    },
    "AWS::ECS::TaskDefinition": {
        "ecs": "RegisterTaskDefinition DeregisterTaskDefinition DescribeTaskDefinition TagResource",
        "iam": "PassRole",
    },
    "AWS::ElasticLoadBalancingV2::Listener": {
        "elasticloadbalancing": "CreateListener DeleteListener DescribeListeners ModifyListener "
        "DescribeListenerAttributes ModifyListenerAttributes AddTags DescribeTags",
    },
    "AWS::ElasticLoadBalancingV2::LoadBalancer": {
        "elasticloadbalancing": "CreateLoadBalancer DeleteLoadBalancer DescribeLoadBalancers "
        "DescribeLoadBalancerAttributes ModifyLoadBalancerAttributes SetSecurityGroups SetSubnets AddTags DescribeTags",
        "ec2": "DescribeAccountAttributes DescribeInternetGateways DescribeSubnets DescribeVpcs",
        "iam": "CreateServiceLinkedRole",
    },
    "AWS::ElasticLoadBalancingV2::TargetGroup": {
        "elasticloadbalancing": "CreateTargetGroup DeleteTargetGroup DescribeTargetGroups "
        "DescribeTargetGroupAttributes ModifyTargetGroup ModifyTargetGroupAttributes AddTags DescribeTags "
        "DescribeTargetHealth",
    },
    "AWS::Events::Rule": {
        "events": "PutRule DeleteRule DescribeRule PutTargets RemoveTargets ListTargetsByRule TagResource",
    },
    "AWS::HealthImaging::Datastore": {
        "medical-imaging": "CreateDatastore DeleteDatastore GetDatastore ListDatastores TagResource "
        "ListTagsForResource",
        "kms": "DescribeKey CreateGrant RetireGrant",
    },
    "AWS::IAM::ManagedPolicy": {
        "iam": "CreatePolicy DeletePolicy GetPolicy GetPolicyVersion CreatePolicyVersion DeletePolicyVersion "
        "ListPolicyVersions ListEntitiesForPolicy AttachRolePolicy DetachRolePolicy",
    },
    "AWS::IAM::Role": {
        "iam": "CreateRole DeleteRole GetRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy AttachRolePolicy "
        "DetachRolePolicy ListAttachedRolePolicies ListRolePolicies GetRolePolicy TagRole UntagRole ListRoleTags "
        "PassRole",
    },
    "AWS::IAM::RolePolicy": {"iam": "PutRolePolicy GetRolePolicy DeleteRolePolicy"},
    "AWS::Lambda::EventInvokeConfig": {
        "lambda": "PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig GetFunctionEventInvokeConfig "
        "DeleteFunctionEventInvokeConfig",
    },
    "AWS::Lambda::Function": {
        "lambda": "CreateFunction DeleteFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration "
        "GetFunctionCodeSigningConfig GetRuntimeManagementConfig GetFunctionRecursionConfig TagResource ListTags",
        "iam": "PassRole",
    },
    "AWS::Lambda::Permission": {"lambda": "AddPermission RemovePermission GetPolicy"},
    "AWS::Logs::LogGroup": {
        "logs": "CreateLogGroup DeleteLogGroup DescribeLogGroups PutRetentionPolicy DeleteRetentionPolicy "
        "AssociateKmsKey DisassociateKmsKey TagResource UntagResource ListTagsForResource DescribeIndexPolicies "
        "GetDataProtectionPolicy",
    },
    "AWS::Logs::QueryDefinition": {"logs": "PutQueryDefinition DescribeQueryDefinitions DeleteQueryDefinition"},
    "AWS::S3::Bucket": {
        "s3": "CreateBucket DeleteBucket ListBucket GetBucketLocation GetBucketVersioning PutBucketVersioning "
        "GetEncryptionConfiguration PutEncryptionConfiguration GetLifecycleConfiguration PutLifecycleConfiguration "
        "GetBucketPublicAccessBlock PutBucketPublicAccessBlock GetBucketOwnershipControls PutBucketOwnershipControls "
        "GetBucketNotification PutBucketNotification GetBucketLogging PutBucketLogging GetBucketTagging "
        "PutBucketTagging GetBucketObjectLockConfiguration PutBucketObjectLockConfiguration GetBucketAcl GetBucketCORS "
        "GetBucketWebsite GetAccelerateConfiguration GetReplicationConfiguration GetAnalyticsConfiguration "
        "GetInventoryConfiguration GetMetricsConfiguration GetIntelligentTieringConfiguration",
    },
    "AWS::S3::BucketPolicy": {"s3": "GetBucketPolicy PutBucketPolicy DeleteBucketPolicy"},
    "AWS::SecretsManager::Secret": {"secretsmanager": "DescribeSecret"},
    "AWS::SNS::Subscription": {
        "sns": "Subscribe Unsubscribe GetSubscriptionAttributes SetSubscriptionAttributes ListSubscriptionsByTopic",
    },
    "AWS::SNS::Topic": {
        "sns": "CreateTopic DeleteTopic GetTopicAttributes SetTopicAttributes ListSubscriptionsByTopic TagResource "
        "ListTagsForResource GetDataProtectionPolicy",
    },
    "AWS::SNS::TopicPolicy": {"sns": "SetTopicAttributes GetTopicAttributes"},
    "AWS::EC2::EIP": {"ec2": "AllocateAddress ReleaseAddress DescribeAddresses CreateTags DisassociateAddress"},
    "AWS::EC2::InternetGateway": {
        "ec2": "CreateInternetGateway DeleteInternetGateway DescribeInternetGateways CreateTags",
    },
    "AWS::EC2::NatGateway": {"ec2": "CreateNatGateway DeleteNatGateway DescribeNatGateways CreateTags"},
    "AWS::EC2::Route": {"ec2": "CreateRoute DeleteRoute ReplaceRoute DescribeRouteTables"},
    "AWS::EC2::RouteTable": {"ec2": "CreateRouteTable DeleteRouteTable DescribeRouteTables CreateTags"},
    "AWS::EC2::Subnet": {
        "ec2": "CreateSubnet DeleteSubnet DescribeSubnets ModifySubnetAttribute CreateTags DescribeAvailabilityZones",
    },
    "AWS::EC2::SubnetRouteTableAssociation": {
        "ec2": "AssociateRouteTable DisassociateRouteTable DescribeRouteTables",
    },
    "AWS::EC2::VPC": {
        "ec2": "CreateVpc DeleteVpc DescribeVpcs ModifyVpcAttribute DescribeVpcAttribute CreateTags",
    },
    "AWS::EC2::VPCGatewayAttachment": {
        "ec2": "AttachInternetGateway DetachInternetGateway DescribeInternetGateways",
    },
    "AWS::EC2::FlowLog": {"ec2": "CreateFlowLogs DeleteFlowLogs DescribeFlowLogs CreateTags", "iam": "PassRole"},
}
